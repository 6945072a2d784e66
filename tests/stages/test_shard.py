"""Shard: no leakage between splits, caps kept, an order that depends on the seed alone."""

import random
from collections import Counter, defaultdict

import pyarrow as pa
import pytest

from hpc_curate.io.tars import padded
from hpc_curate.stages.shard import Shard, representatives

PLAIN = {"aspect_edges": (), "resolution_edges_px": (), "duration_edges_s": ()}


def clip(number, video=None, group=None, **columns):
    video = f"v{number}" if video is None else video
    cut = {"cut_bytes": 1000, "cut_width": 1280, "cut_height": 720, "cut_duration_s": 4.0}
    return {"clip_id": f"{video}_{number}_{number + 1}", "video_id": video, "duplicate_group": group, **cut, **columns}


def shard(rows, **settings):
    schema = pa.schema(
        [(name, pa.string()) for name in ("clip_id", "video_id", "duplicate_group")]
        + [("cut_bytes", pa.int64()), ("cut_width", pa.int32()), ("cut_height", pa.int32())]
        + [("cut_duration_s", pa.float64())]
    )
    return Shard(**settings).samples(pa.Table.from_pylist(rows, schema=schema)).to_pylist()


def test_every_encoded_clip_is_in_one_tar_and_a_failed_one_in_none():
    rows = [clip(n) for n in range(50)] + [clip(50, cut_bytes=None)]
    samples = shard(rows, max_samples=7)
    assert sorted(s["clip_id"] for s in samples) == sorted(row["clip_id"] for row in rows[:50])
    assert all(s["key"] == s["clip_id"] for s in samples)


def test_where_clips_are_captioned_one_without_a_caption_is_in_no_tar():
    rows = [{**clip(n), "caption": f"clip {n}"} for n in range(20)] + [{**clip(20), "caption": None}]
    samples = Shard().samples(pa.Table.from_pylist(rows))
    assert sorted(samples["clip_id"].to_pylist()) == sorted(row["clip_id"] for row in rows[:20])


def test_without_tars_each_clip_is_a_file_in_the_folder_of_its_split():
    rows = [clip(n, cut_bytes=None if n == 7 else 1000) for n in range(60)]
    tars = {s["clip_id"]: s for s in shard(rows, val_share=0.3)}
    files = {s["clip_id"]: s for s in shard(rows, val_share=0.3, layout="cosmos_predict", groups=4)}
    assert set(files) == set(tars)
    for name, sample in files.items():
        assert sample["tar"] == f"{tars[name]['split']}/videos/{name}.mp4"
        assert (sample["split"], sample["bucket"]) == (tars[name]["split"], tars[name]["bucket"])
        assert sample["position"] == 0
    assert {s["split"] for s in files.values()} == {"train", "val"}
    assert max(Counter(s["group"] for s in files.values()).values()) == 15


def test_positions_count_from_zero_in_every_tar():
    tars = defaultdict(list)
    for sample in shard([clip(n) for n in range(50)], max_samples=7, val_share=0.3):
        tars[sample["tar"]].append(sample["position"])
    assert all(positions == list(range(len(positions))) for positions in tars.values())
    assert max(map(len, tars.values())) == 7


def test_a_tar_holds_no_more_bytes_than_it_may():
    sizes = [random.Random(n).randrange(1000, 400_000) for n in range(100)]
    rows = [clip(n, cut_bytes=size) for n, size in enumerate(sizes)]
    totals, count = Counter(), Counter()
    for sample in shard(rows, max_tar_mb=1.0, val_share=0.0, **PLAIN):
        totals[sample["tar"]] += padded(sizes[int(sample["clip_id"].split("_")[1])])
        count[sample["tar"]] += 1
    assert max(totals.values()) <= 1_000_000
    assert len(totals) <= sum(sizes) / 500_000


def test_a_clip_larger_than_a_tar_has_one_of_its_own():
    samples = shard([clip(0, cut_bytes=9_000_000), clip(1), clip(2)], max_tar_mb=1.0, val_share=0.0)
    tars = {s["clip_id"]: s["tar"] for s in samples}
    assert tars["v0_0_1"] not in (tars["v1_1_2"], tars["v2_2_3"])


@pytest.mark.parametrize(
    ("columns", "bucket"),
    [
        ({}, "16x9-720p-under5s"),
        ({"cut_width": 720, "cut_height": 1280, "cut_duration_s": 5.0}, "9x16-720p-5s"),
        ({"cut_width": 480, "cut_height": 480, "cut_duration_s": 12.0}, "1x1-under720p-10s"),
        ({"cut_width": 1920, "cut_height": 1080, "cut_duration_s": 30.0}, "16x9-1080p-30s"),
        ({"cut_width": 1440, "cut_height": 1080}, "4x3-1080p-under5s"),
    ],
)
def test_buckets_follow_the_encoded_picture(columns, bucket):
    (sample,) = shard([clip(0, **columns)], val_share=0.0)
    assert (sample["bucket"], sample["tar"]) == (bucket, f"train-{bucket}-000000.tar")


def test_without_edges_there_is_one_bucket():
    rows = [clip(0), clip(1, cut_width=100), clip(2, cut_duration_s=99.0)]
    assert {s["tar"] for s in shard(rows, val_share=0.0, **PLAIN)} == {"train-all-000000.tar"}


def test_clips_of_one_video_are_on_one_side_of_the_split():
    rows = [clip(n, video=f"v{n % 40}") for n in range(400)]
    sides = defaultdict(set)
    for sample in shard(rows, val_share=0.5):
        sides[sample["clip_id"].split("_")[0]].add(sample["split"])
    assert all(len(found) == 1 for found in sides.values())
    assert {"train", "val"} == set.union(*sides.values())


def test_videos_that_share_a_duplicate_are_on_one_side_along_the_whole_chain():
    """Video n shares group n with video n + 1: one chain of 40 videos, and 40 videos alone."""
    chain = [clip(2 * n + k, video=f"a{n:02d}", group=f"g{n + k:02d}") for n in range(40) for k in (0, 1)]
    alone = [clip(1000 + n, video=f"b{n}") for n in range(40)]
    samples = shard(chain + alone, val_share=0.5)
    assert len({s["split"] for s in samples if s["clip_id"].startswith("a")}) == 1
    assert len({s["split"] for s in samples if s["clip_id"].startswith("b")}) == 2


def test_null_groups_link_nothing():
    rows = pa.table({"clip_id": ["1", "2"], "video_id": ["v1", "v2"], "group": pa.array([None, None], pa.string())})
    assert representatives(rows, ("video_id", "group")).to_pylist() == ["v1", "v2"]


def test_links_agree_with_a_search_of_the_graph():
    chance = random.Random(7)
    videos = [f"v{chance.randrange(60):02d}" for _ in range(150)]
    groups = [chance.choice([None, f"g{chance.randrange(60)}"]) for _ in range(150)]
    found = representatives(pa.table({"video_id": videos, "group": groups}), ("video_id", "group")).to_pylist()
    for start in range(150):
        reached = {start}
        while True:
            more = {
                n
                for n in range(150)
                if any(videos[n] == videos[r] or (groups[n] and groups[n] == groups[r]) for r in reached)
            }
            if more <= reached:
                break
            reached |= more
        assert found[start] == min(videos[n] for n in reached)


def test_a_video_keeps_its_side_when_more_videos_come():
    first = {s["clip_id"]: s["split"] for s in shard([clip(n) for n in range(100)], val_share=0.3)}
    later = {s["clip_id"]: s["split"] for s in shard([clip(n) for n in range(200)], val_share=0.3)}
    assert first == {name: later[name] for name in first}
    assert 15 <= sum(split == "val" for split in first.values()) <= 45


def test_the_order_of_the_rows_changes_nothing():
    rows = [clip(n, video=f"v{n % 30}", group=f"g{n % 7}", cut_bytes=1000 * n) for n in range(200)]
    mixed = random.Random(1).sample(rows, len(rows))
    assert shard(rows, val_share=0.2, max_samples=9) == shard(mixed, val_share=0.2, max_samples=9)


def test_the_order_is_shuffled_and_follows_the_seed():
    rows = [clip(n) for n in range(30)]
    orders = [[s["clip_id"] for s in shard(rows, seed=seed, **PLAIN, val_share=0.0)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != [row["clip_id"] for row in rows]


def test_tars_are_dealt_evenly_to_the_groups():
    samples = shard([clip(n) for n in range(80)], max_samples=2, groups=4, val_share=0.0, **PLAIN)
    groups = {s["tar"]: s["group"] for s in samples}
    assert Counter(groups.values()) == {0: 10, 1: 10, 2: 10, 3: 10}


def test_no_clips_make_no_samples():
    assert shard([]) == []
    assert shard([clip(0, cut_bytes=None)]) == []


def test_settings_that_contradict_each_other_are_refused():
    for settings in ({"aspect_names": ("a", "b")}, {"duration_edges_s": (5.0, 1.0)}, {"groups": 0}, {"val_share": 2.0}):
        with pytest.raises(ValueError):
            Shard(**settings)
