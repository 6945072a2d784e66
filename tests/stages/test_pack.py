"""Pack: what WebDataset reads back is what cut stored and the columns say, byte for byte the same each time."""

import io
import json
import subprocess
import tarfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.errors import ConfigError, EnvironmentFault, UnitFailed
from hpc_curate.io.delivery import Folder
from hpc_curate.records import Video
from hpc_curate.stage import Resources
from hpc_curate.stages.pack import Pack, as_json
from hpc_curate.stages.shard import Shard

PLAIN = {"aspect_edges": (), "resolution_edges_px": (), "duration_edges_s": ()}


class Run:
    """The inputs of pack over clips whose mp4 are given."""

    resources = Resources()
    unit = 0

    def __init__(self, folder, mp4s, **columns):
        import hashlib

        self.folder = folder
        self.store = {f"v{n % 3}_{n}_{n + 1}": mp4 for n, mp4 in enumerate(mp4s)}
        rows = []
        for number, (clip, mp4) in enumerate(self.store.items()):
            size = {"width": 66, "height": 50, "cut_width": 64, "cut_height": 48}
            time = {"start_s": 1.0 * number, "end_s": number + 1.0, "duration_s": 1.0, "frame_count": 12}
            cut = {"cut_start_s": number + 0.1, "cut_duration_s": 0.9, "cut_frames": 10, "cut_mode": "copy"}
            cut |= {"cut_bytes": len(mp4), "cut_sha256": hashlib.sha256(mp4).hexdigest()}
            row = {"clip_id": clip, "video_id": f"v{number % 3}", **size, **time, **cut, "keep": True, "reason": None}
            rows.append({**row, **{name: values[number] for name, values in columns.items()}})
        self.rows = pa.Table.from_pylist(rows)
        self.samples = Shard(keep_together=("video_id",), val_share=0.0, groups=2, max_samples=4, **PLAIN).samples(
            self.rows
        )

    def table(self, name):
        return {"samples": self.samples}[name]

    def clips(self, columns, ids):
        assert list(columns) == ["*"]
        rows = {row["clip_id"]: row for row in self.rows.to_pylist()}
        return pa.Table.from_pylist([rows[clip] for clip in ids], schema=self.rows.schema)

    def videos(self):
        return [Video(f"v{n}", f"/data/v{n}.mp4", f"v{n}.mp4", 9, "1", {"licence": "CC0"}) for n in range(3)]

    def blobs(self, name, ids):
        return ((clip, self.store[clip]) for clip in ids)

    def delivery(self):
        return Folder(self.folder)

    def pack(self, stage=None, groups=(0, 1), backwards=False):
        """The rows of the table `tars`, sorted."""
        stage, rows = stage or Pack(), []
        model = stage.load(self.resources)
        for self.unit in groups:
            items = list(stage.items(self, ()))
            for item in items[::-1] if backwards else items:
                made = stage.process(model, self, item)["tars"]
                assert made.schema == stage.writes()["tars"]
                rows += made.to_pylist()
        return sorted(rows, key=lambda row: row["clip_id"])


def members(folder):
    """The content of every file in every tar by name."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            found.update({info.name: archive.extractfile(info).read() for info in archive})
    return found


def test_every_clip_is_one_sample_where_the_rows_say(tmp_path):
    run = Run(tmp_path, [b"mp4 %d" % n * 100 for n in range(10)])
    rows = run.pack()
    assert [row["clip_id"] for row in rows] == sorted(run.store)
    for row in rows:
        raw = (tmp_path / row["tar"]).read_bytes()
        assert raw[row["mp4_offset"] :][: row["mp4_bytes"]] == run.store[row["clip_id"]]
        with tarfile.open(fileobj=io.BytesIO(raw[row["offset"] :][: row["bytes"]])) as archive:
            assert archive.getnames() == [f"{row['clip_id']}.mp4", f"{row['clip_id']}.json"]
        assert len(raw) == row["tar_bytes"]
    assert Counter(row["tar"] for row in rows).most_common(1)[0][1] == 4


def test_the_json_describes_the_mp4_and_names_no_folder(tmp_path):
    run = Run(tmp_path, [b"a", b"b"], motion=[0.123456789, float("nan")], sharp=[None, True])
    run.pack()
    found = members(tmp_path)
    first = json.loads(found["v0_0_1.json"])
    assert first == {
        "clip_id": "v0_0_1",
        "video_id": "v0",
        "key": "v0_0_1",
        "split": "train",
        "bucket": "all",
        "source": "v0.mp4",
        "extra": {"licence": "CC0"},
        "start_s": 0.1,
        "end_s": 1.0,
        "duration_s": 0.9,
        "frame_count": 10,
        "width": 64,
        "height": 48,
        "source_width": 66,
        "source_height": 50,
        "cut_mode": "copy",
        "motion": 0.123457,
        "sharp": None,
    }
    assert json.loads(found["v1_1_2.json"])["motion"] is None
    assert b"/data" not in b"".join(found.values())


def test_embeddings_and_captions_are_files_of_their_own(tmp_path):
    vectors = pa.array([[0.5, -1.0], None], pa.list_(pa.float32(), 2)).to_pylist()
    run = Run(tmp_path, [b"a", b"b"], embedding=vectors, caption=["a cät", "a dog"])
    run.pack()
    found = members(tmp_path)
    assert [name for name in found if name.startswith("v0")] == [
        f"v0_0_1.{kind}" for kind in ("mp4", "json", "npy", "txt")
    ]
    assert [name for name in found if name.startswith("v1")] == [f"v1_1_2.{kind}" for kind in ("mp4", "json", "txt")]
    vector = np.load(io.BytesIO(found["v0_0_1.npy"]), allow_pickle=False)
    assert (vector.dtype, vector.tolist()) == (np.float16, [0.5, -1.0])
    assert found["v0_0_1.txt"].decode() == "a cät"
    assert "embedding" not in json.loads(found["v0_0_1.json"])


def test_they_are_left_out_if_not_wanted(tmp_path):
    run = Run(tmp_path, [b"a"], embedding=[[0.5]], caption=["a cat"])
    run.pack(Pack(embedding=None, caption=None))
    assert list(members(tmp_path)) == ["v0_0_1.mp4", "v0_0_1.json"]


def test_all_captions_are_in_the_json_and_what_they_cost_is_not(tmp_path):
    captions = [{"variant": "short", "start_s": 0.0, "end_s": 0.333333333, "text": "a cat"}]
    costs = {"caption_input_tokens": [9], "caption_output_tokens": [3], "vlm_input_tokens": [9]}
    run = Run(tmp_path, [b"a"], caption=["a cat"], captions=[captions], caption_model=["m"], **costs)
    run.pack()
    described = json.loads(members(tmp_path)["v0_0_1.json"])
    assert described["captions"] == [{"variant": "short", "start_s": 0.0, "end_s": 0.333333, "text": "a cat"}]
    assert described["caption_model"] == "m"
    assert not set(costs) & set(described)


def test_cosmos_predict_finds_a_video_and_its_caption_under_one_name(tmp_path):
    count = 300  # more than an item
    mp4s = [b"mp4 %d" % n for n in range(count)]
    run = Run(tmp_path, mp4s, caption=[f"clip {n} \u00e4" for n in range(count)])
    settings = {"val_share": 0.4, "keep_together": ("video_id",), "seed": 1, "layout": "cosmos_predict", "groups": 1}
    run.samples = Shard(**settings).samples(run.rows)
    rows = run.pack(Pack(layout="cosmos_predict"), groups=(0,))
    found = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert len(found) == 2 * count == 2 * len(rows)
    assert {name.rsplit("/", 1)[0] for name in found} == {
        f"{s}/{f}" for s in ("train", "val") for f in ("videos", "metas")
    }
    for row in rows:
        number = int(row["clip_id"].split("_")[1])
        split = row["tar"].split("/")[0]
        assert found[row["tar"]] == mp4s[number]
        assert found[f"{split}/metas/{row['clip_id']}.txt"].decode() == f"clip {number} \u00e4"
        assert (row["bytes"], row["mp4_offset"]) == (len(mp4s[number]), 0)
    assert {path.relative_to(tmp_path).as_posix() for path in Pack(layout="cosmos_predict").publishes(run)} == set(
        found
    )
    run.unit = 1
    assert list(Pack(layout="cosmos_predict").items(run, ())) == []


def test_a_layout_of_captions_needs_captions():
    assert "caption" in Pack(layout="cosmos_predict").reads()
    assert "caption" not in Pack().reads()


def test_the_bytes_do_not_depend_on_the_order_of_the_work(tmp_path):
    results = []
    for name, order in (("one", {}), ("two", {"backwards": True, "groups": (1, 0)}), ("two", {})):
        run = Run(tmp_path / name, [b"mp4 %d" % n for n in range(20)], motion=[n / 7 for n in range(20)])
        rows = run.pack(**order)
        results.append((rows, {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}))
    assert results[0] == results[1] == results[2]
    assert len(results[0][1]) == 5


def test_a_group_without_tars_is_done_at_once(tmp_path):
    run = Run(tmp_path, [b"a"])
    assert run.pack(groups=(1,)) == []


def test_a_store_that_changed_is_noticed(tmp_path):
    run = Run(tmp_path, [b"good", b"good"])
    run.store["v1_1_2"] = b"bad"
    with pytest.raises(UnitFailed, match="v1_1_2"):
        run.pack()
    assert members(tmp_path) == {}


def test_a_full_disk_leaves_no_tar_and_blames_no_clip(tmp_path):
    class Full(Run):
        def blobs(self, name, ids):
            yield from list(super().blobs(name, ids))[:1]
            raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentFault, match="No space left"):
        Full(tmp_path, [b"a", b"b"]).pack()
    assert list(tmp_path.iterdir()) == []


def test_json_says_the_same_for_the_same_values():
    assert as_json({"b": -0.0000001, "a": [float("inf"), 1e-9]}) == b'{"a": [null, 0.0], "b": 0.0}\n'
    assert json.loads(as_json({"name": "\ud800 ä"})) == {"name": "\ud800 ä"}


def test_webdataset_reads_every_sample_in_a_data_loader(make_video, ffmpeg, tmp_path):
    torch_data = pytest.importorskip("torch.utils.data")
    webdataset = pytest.importorskip("webdataset")
    mp4s = [make_video(f"{n}.mp4", f"testsrc2=s=64x48:r=10:d={n / 10}").read_bytes() for n in range(3, 10)]
    run = Run(tmp_path / "tars", mp4s, embedding=[[float(n)] for n in range(7)], number=list(range(7)))
    rows = run.pack()
    tars = sorted(str(tmp_path / "tars" / name) for name in {row["tar"] for row in rows})
    samples = webdataset.WebDataset(tars, shardshuffle=False, workersplitter=webdataset.split_by_worker)
    seen = []
    for sample in torch_data.DataLoader(samples, batch_size=None, num_workers=2):
        described = json.loads(sample["json"])
        assert sample["__key__"] == described["clip_id"]
        assert np.load(io.BytesIO(sample["npy"])).tolist() == [described["number"]]
        command = [ffmpeg, "-v", "error", "-i", "pipe:0", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"]
        frames = subprocess.run(command, input=sample["mp4"], check=True, stdout=subprocess.PIPE).stdout
        assert len(frames) == (3 + described["number"]) * 64 * 48
        seen.append(described["clip_id"])
    assert sorted(seen) == sorted(run.store)


def test_folders_for_captions_need_captions() -> None:
    with pytest.raises(ConfigError, match="stage.pack.caption names their column"):
        Pack(layout="cosmos_predict", caption=None)
