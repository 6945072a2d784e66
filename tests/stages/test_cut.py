"""Cut: every kept clip ends as one verified mp4 or one error, the same bytes however the work was divided."""

import hashlib
from fractions import Fraction

import pyarrow as pa
import pytest

from hpc_curate.errors import BadInput
from hpc_curate.io import encode
from hpc_curate.io.video import probe
from hpc_curate.records import VIDEOS, Span, Video
from hpc_curate.stage import Item, Resources
from hpc_curate.stages.cut import Cut, _source

H264 = ("-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", "-threads", "1", "-g", "10", "-sc_threshold", "0")


class Unit:
    """The inputs of a unit whose videos are files of one folder; all have 10 frames a second."""

    unit = 0

    def __init__(self, folder, *files, cpus=1):
        self.resources = Resources(cpus=cpus)
        self._scratch = folder
        self._paths = {f"v{number}": path for number, path in enumerate(files)}
        self._clips = {}
        self.ahead = []  # what may be fetched meanwhile
        self.before = []  # rows of an earlier publication

    def clip(self, video, first, frames, **columns):
        base = self._facts(video)["time_base_den"]
        tick = base // 10
        name = f"{video}_{first * tick}_{(first + frames) * tick}"
        crop = dict.fromkeys(f"{kind}_{side}" for kind in ("crop", "clean") for side in "xywh")
        span = {"start_pts": first * tick, "end_pts": (first + frames) * tick, "frame_count": frames}
        self._clips[name] = {"clip_id": name, **span, **crop, **columns}
        return name

    def videos(self):
        return [Video(name, str(path), path.name, 0, "") for name, path in self._paths.items()]

    def _facts(self, name):
        facts = probe(self._paths[name])
        row = {field: getattr(facts, field, None) for field in VIDEOS.names}
        tick = {"time_base_num": facts.time_base.numerator, "time_base_den": facts.time_base.denominator}
        return {**row, **tick, "video_id": name, "start_pts": 0}

    def table(self, name, columns=None):
        return pa.Table.from_pylist([self._facts(video) for video in self._paths], schema=VIDEOS)

    def clips(self, columns, ids):
        return pa.Table.from_pylist([self._clips[name] for name in ids]).select(["clip_id", *columns])

    def kept(self):
        return list(self._clips)

    def earlier(self, name):
        return pa.Table.from_pylist(self.before, schema=Cut().writes()[name])

    def source(self, video, wanted):
        after = list(self._paths).index(video.video_id) + 1
        self.ahead += [one.video_id for one in filter(wanted, self.videos()[after:])][:1]
        if not self._paths[video.video_id].exists():
            raise BadInput("it is gone")
        return self._paths[video.video_id]

    def scratch(self):
        return self._scratch


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def cut(unit, stage, *ids):
    """Rows by clip_id, and the store."""
    rows, store = {}, {}
    for item in stage.items(unit, ids):
        made = stage.process(None, unit, item)
        assert made["rows"].schema == stage.writes()["rows"] and made["store"].schema == stage.writes()["store"]
        rows.update({row["clip_id"]: row for row in made["rows"].to_pylist()})
        store.update({row["clip_id"]: row["mp4"] for row in made["store"].to_pylist()})
    return rows, store


def test_a_clip_becomes_a_row_and_an_mp4_that_match(make_video, scratch):
    unit = Unit(scratch, make_video("film.mp4", "testsrc2=s=64x48:r=10:d=4", *H264))
    name = unit.clip("v0", 7, 13)
    rows, store = cut(unit, Cut(), name)
    row = rows[name]
    assert (row["cut_mode"], row["cut_frames"], row["cut_duration_s"], row["error"]) == ("encode", 13, 1.3, None)
    assert (row["cut_width"], row["cut_height"], row["cut_start_s"]) == (64, 48, 0.7)
    assert row["cut_bytes"] == len(store[name])
    assert row["cut_sha256"] == hashlib.sha256(store[name]).hexdigest()
    assert list(scratch.iterdir()) == []


def test_the_crop_of_the_clip_is_taken_if_asked(make_video, scratch):
    unit = Unit(scratch, make_video("film.mp4", "testsrc2=s=64x48:r=10:d=2", *H264))
    name = unit.clip("v0", 0, 10, crop_x=0, crop_y=6, crop_w=64, crop_h=36)
    sizes = [
        (row["cut_width"], row["cut_height"])
        for crop in (True, False)
        for row in [cut(unit, Cut(crop=crop), name)[0][name]]
    ]
    assert sizes == [(64, 36), (64, 48)]
    assert "crop_x" in Cut().reads() and "crop_x" not in Cut(crop=False).reads()


def test_what_overlays_leave_of_the_crop_is_taken_if_asked_and_known(make_video, scratch):
    unit = Unit(scratch, make_video("film.mp4", "testsrc2=s=64x48:r=10:d=2", *H264))
    bars = {"crop_x": 0, "crop_y": 6, "crop_w": 64, "crop_h": 36}
    known = unit.clip("v0", 0, 10, **bars, clean_x=4, clean_y=10, clean_w=60, clean_h=32)
    unknown = unit.clip("v0", 10, 10, **bars)

    def sizes(stage):
        rows, _ = cut(unit, stage, known, unknown)
        return [(rows[name]["cut_width"], rows[name]["cut_height"]) for name in (known, unknown)]

    assert sizes(Cut(overlays=True)) == [(60, 32), (64, 36)]
    assert sizes(Cut()) == [(64, 36), (64, 36)]


def test_a_bad_clip_is_one_error_and_the_others_go_on(make_video, scratch):
    unit = Unit(scratch, make_video("film.mp4", "testsrc2=s=64x48:r=10:d=2", *H264))
    good, beyond = unit.clip("v0", 0, 10), unit.clip("v0", 15, 10)
    empty = unit.clip("v0", 3, 5, crop_x=3, crop_y=3, crop_w=1, crop_h=1)
    rows, store = cut(unit, Cut(), good, beyond, empty)
    assert set(store) == {good}
    assert rows[beyond] | {"error": None} == {**dict.fromkeys(rows[good]), "clip_id": beyond, "cut_mode": "failed"}
    assert "10 frames were planned, 5 came out" in rows[beyond]["error"]
    assert "nothing is left" in rows[empty]["error"]


def test_items_are_small_and_of_one_video(make_video, scratch):
    asked = [f"v{n % 2}_{n}_{n + 1}" for n in range(100)]
    items = list(Cut().items(Unit(scratch, scratch / "one.mp4", scratch / "two.mp4"), asked))
    assert [item.key for item in items] == ["v0-0000", "v0-0001", "v1-0000", "v1-0001"]
    assert sorted(clip for item in items for clip in item.ids) == sorted(asked)


def test_only_videos_with_clips_to_cut_are_fetched_ahead_and_in_the_order_of_the_unit(make_video, scratch):
    film = make_video("film.mp4", "testsrc2=s=64x48:r=10:d=2", *H264)
    unit = Unit(scratch, *[film] * 12)
    clips = {video: unit.clip(video, 0, 5) for video in ("v1", "v2", "v5", "v8", "v10")}
    unit.before = [{"clip_id": clips["v5"]}]
    cut(unit, Cut(), *(clip for video, clip in clips.items() if video != "v5"))
    assert unit.ahead == ["v2", "v8", "v10"]


def test_the_bytes_do_not_depend_on_how_the_work_is_divided(make_video, scratch):
    film = make_video("film.mp4", "testsrc2=s=64x48:r=10:d=6", *H264)
    one, two = Unit(scratch, film), Unit(scratch, film, cpus=3)
    ids = [one.clip("v0", first, 12) for first in (0, 12, 30, 45)]
    [two.clip("v0", first, 12) for first in (0, 12, 30, 45)]
    first = Cut().process(None, one, Item("a", tuple(ids)))
    second = [Cut().process(None, two, Item("b", part)) for part in ((ids[3], ids[1]), (ids[2], ids[0]))]
    for table in ("rows", "store"):
        assert first[table].sort_by("clip_id") == pa.concat_tables(part[table] for part in second).sort_by("clip_id")


def test_a_video_that_cannot_be_used_fails_all_its_clips(make_video, scratch):
    film = make_video("film.mp4", "testsrc2=s=64x48:r=10:d=2", *H264)
    unit = Unit(scratch, film)
    item = Item("v0-0000", (unit.clip("v0", 0, 5), unit.clip("v0", 5, 5)))
    facts = unit.table("videos")
    film.unlink()
    unit.table = lambda name: facts
    with pytest.raises(BadInput, match="gone"):
        Cut().process(None, unit, item)
    made = Cut().failed(item, "it is gone")
    assert made["rows"]["error"].to_pylist() == ["it is gone"] * 2
    assert made["store"].num_rows == 0


@pytest.mark.parametrize(("fact", "setting"), [("interlaced", "deinterlace"), ("hdr", "tonemap")])
def test_what_may_be_rejected_is(make_video, scratch, fact, setting):
    unit = Unit(scratch, make_video("film.mp4", "testsrc2=s=64x48:r=10:d=2", *H264))
    facts = unit.table("videos").to_pylist()[0]
    unit.table = lambda name: pa.Table.from_pylist([{**facts, fact: True}], schema=VIDEOS)
    with pytest.raises(BadInput, match=f"stage.cut.{fact}={setting}"):
        cut(unit, Cut(**{fact: "reject"}), unit.clip("v0", 0, 5))


def test_auto_copies_what_begins_with_a_keyframe_and_encodes_the_rest(make_video, scratch):
    unit = Unit(scratch, make_video("film.mp4", "testsrc2=s=64x48:r=10:d=6", *H264, "-bf", "0"))
    at_key, between = unit.clip("v0", 20, 17), unit.clip("v0", 25, 20)
    cropped = unit.clip("v0", 30, 10, crop_x=2, crop_y=0, crop_w=62, crop_h=48)
    rows, store = cut(unit, Cut(mode="auto"), at_key, between, cropped)
    assert [rows[name]["cut_mode"] for name in (at_key, between, cropped)] == ["copy", "encode", "encode"]
    assert [rows[name]["cut_frames"] for name in (at_key, between, cropped)] == [17, 20, 10]
    rows, store = cut(unit, Cut(mode="copy"), at_key, between, cropped)
    assert set(store) == {at_key}
    assert "no keyframe" in rows[between]["error"] and "cannot crop" in rows[cropped]["error"]


def test_a_copy_that_begins_late_says_where(make_video, scratch):
    unit = Unit(scratch, make_video("film.mp4", "testsrc2=s=64x48:r=10:d=6", *H264, "-bf", "0"))
    name = unit.clip("v0", 19, 11)
    rows, _ = cut(unit, Cut(mode="copy", copy_tolerance_s=0.2), name)
    assert (rows[name]["cut_start_s"], rows[name]["cut_frames"], rows[name]["cut_duration_s"]) == (2.0, 10, 1.0)


def test_what_another_codec_coded_is_not_copied(make_video, scratch):
    unit = Unit(scratch, make_video("film.mkv", "testsrc2=s=64x48:r=10:d=2", "-c:v", "mpeg4"))
    name = unit.clip("v0", 0, 10)
    rows, _ = cut(unit, Cut(mode="copy"), name)
    assert rows[name]["error"] == "a copy needs codec h264, the video has mpeg4"


def test_settings_that_contradict_each_other_are_refused():
    for settings in (
        {"codec": "h264_nvenc"},
        {"preset": "p4"},
        {"threads": 0},
        {"gop_s": 0.0},
        {"max_short_side_px": 1},
    ):
        with pytest.raises(ValueError):
            Cut(**settings)
    assert Cut(codec="h264_nvenc", preset="p4").preset == "p4"


def test_real_footage_is_cut_frame_for_frame(footage, scratch):
    """The spans are of the stream's own ticks, whatever they are."""
    path = footage / "bikes.mp4"
    facts = probe(path)
    of = _source(Unit(scratch, path).table("videos").to_pylist()[0], path)
    tick = 1 / facts.fps / facts.time_base
    picture = encode.even_inside(encode.Rectangle(0, 0, facts.width, facts.height))
    wanted = encode.Wanted(Span(round(60 * tick), round(100 * tick)), 40, picture)
    made = encode.encode(of, wanted, encode.Encoding(preset="ultrafast"), scratch / "clip.mp4")
    assert made.frames == 40
    assert abs(Fraction(made.duration_s) - 40 / facts.fps) < Fraction(1, 1000)
