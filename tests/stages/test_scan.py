"""scan: the tables of a video, the pieces asked for, and what a bad one costs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from hpc_curate.cutters.adaptive import Adaptive
from hpc_curate.cutters.stride import Stride
from hpc_curate.errors import BadInput, ConfigError, UnitFailed
from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.measures.exposure import Exposure
from hpc_curate.measures.sharpness import Sharpness
from hpc_curate.records import Video, video_id
from hpc_curate.stage import Item, Resources, Tables
from hpc_curate.stages.scan import Scan

MakeVideo = Callable[..., Path]


@dataclass
class Folder:
    """The inputs of a unit: local files, handed out as they are."""

    paths: Sequence[Path]
    resources: Resources = field(default_factory=lambda: Resources(cpus=2))
    unit: int = 0

    def videos(self) -> list[Video]:
        return [Video(video_id(str(p)), str(p), p.name, p.stat().st_size, "") for p in self.paths]

    def source(self, video: Video) -> Path:
        if "gone" in video.name:
            raise BadInput(f"{video.name}: changed since it was frozen")
        return Path(video.uri)


def scan(stage: Scan, *paths: Path, pieces: Sequence[str] | None = None) -> list[Tables]:
    asked = [f"{name}:{sign}" for name, sign in stage.pieces().items() if pieces is None or name in pieces]
    inputs: Any = Folder(paths)
    return [stage.process(None, inputs, item) for item in stage.items(inputs, asked)]


def series(tables: Tables) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["piece"], row["name"]): row for row in tables["series"].to_pylist()}


@dataclass(frozen=True)
class Twice(Measure):
    """A test measure: 2 values per native frame."""

    name: ClassVar[str] = "twice"
    grid: ClassVar[str] = "native"
    series_settings: ClassVar[tuple[str, ...]] = ("gain",)
    gain: float = 1.0
    threshold: float = 0.5
    short: bool = False

    def start(self, facts: Facts) -> Feeder:
        return Collector("value", self._of)

    def _of(self, frames: Frames) -> np.ndarray:
        means = frames.pixels.reshape(len(frames.pts), -1).mean(axis=1) * self.gain
        values = np.stack([means, frames.times_s], axis=1)
        return values[1:] if self.short else values


def test_the_tables_of_one_video(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", "testsrc=s=320x180:r=24000/1001:d=4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    stage = Scan({"exposure": Exposure(), "sharpness": Sharpness()}, {"adaptive": Adaptive(), "stride": Stride()})
    (tables,) = scan(stage, path)
    (video,) = tables["videos"].to_pylist()
    assert video["error"] is None and video["damage"] is None and video["sha256"] is None
    assert (video["frames"], video["fps_num"], video["fps_den"]) == (96, 24000, 1001)
    assert (video["width"], video["height"], video["codec"], video["pix_fmt"]) == (320, 180, "h264", "yuv420p")
    assert video["duration_s"] == pytest.approx(96 * 1001 / 24000, abs=1e-6)
    assert video["bits_per_pixel"] == pytest.approx(path.stat().st_size * 8 / (96 * 320 * 180), abs=1e-6)
    assert (video["audio_codec"], video["interlaced"], video["hdr"]) == (None, False, False)
    found = series(tables)
    assert {key: (row["grid"], row["dim"]) for key, row in found.items()} == {
        ("videos", "pts"): ("native", 1),
        ("exposure", "exposure"): ("small", 3),
        ("sharpness", "sharpness"): ("native", 2),
        ("adaptive", "score"): ("small", 1),
    }
    pts = {row["grid"]: row["pts"] for row in tables["series"].to_pylist() if row["name"] == "pts"}
    assert (len(pts["small"]), len(pts["native"]), tables["frames"].num_rows) == (96, 4, 8)
    assert len(found["exposure", "exposure"]["values"]) == 3 * 96
    assert (pts["small"][0], pts["small"][-1] < video["end_pts"]) == (video["start_pts"], True)
    assert set(tables["frames"]["pts"].to_pylist()) <= set(pts["small"])
    assert tables["frames"]["time_s"][0].as_py() == 0.0
    for name, table in tables.items():
        assert table.schema == stage.writes()[name]


def test_the_same_video_gives_the_same_bytes(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", "testsrc2=s=320x180:r=24:d=2")
    stage = Scan({"exposure": Exposure()}, {"adaptive": Adaptive()})
    (one,), (other,) = scan(stage, path), scan(stage, path)
    for name in one:
        assert one[name].equals(other[name])


def test_a_measure_added_later_runs_alone(make_video: MakeVideo) -> None:
    before = Scan({"exposure": Exposure()}, {})
    after = Scan({"exposure": Exposure(), "twice": Twice()}, {})
    assert before.signature([]) == after.signature([])
    assert set(after.pieces()) - set(before.pieces()) == {"twice"}
    (tables,) = scan(after, make_video(), pieces=["twice"])
    assert tables["videos"].num_rows == tables["frames"].num_rows == 0
    assert [(row["piece"], row["name"], row["grid"]) for row in tables["series"].to_pylist()] == [
        ("videos", "pts", "native"),
        ("twice", "value", "native"),
    ]


def test_only_what_changes_a_series_changes_its_piece() -> None:
    def piece(**settings: Any) -> str:
        return Scan({"twice": Twice(**settings)}, {}).pieces()["twice"]

    assert piece() == piece(threshold=0.9)
    assert piece() != piece(gain=2.0)


def test_shared_settings_are_in_the_signature_and_limits_are_not() -> None:
    plain = Scan({}, {}).signature([])
    for change in (
        {"pack_per_s": 4.0},
        {"decoder": "decord"},
        {"small_long_side_px": 48},
        {"on_damage": "keep_prefix"},
    ):
        assert Scan({}, {}, **change).signature([]) != plain  # type: ignore[arg-type]
    assert Scan({}, {}, max_wall_s=1.0).signature([]) == plain


def test_a_cutter_without_series_is_no_piece() -> None:
    assert set(Scan({}, {"stride": Stride()}).pieces()) == {"videos", "frames"}


def test_a_bad_video_is_one_row_with_an_error(make_video: MakeVideo, tmp_path: Path) -> None:
    empty, gone, good = tmp_path / "empty.mp4", tmp_path / "gone.mp4", make_video("good.mp4")
    empty.write_bytes(b"")
    gone.write_bytes(b"x")
    results = scan(Scan({"exposure": Exposure()}, {}), empty, gone, good)
    errors = [tables["videos"]["error"].to_pylist() for tables in results]
    assert errors == [
        ["Invalid data found when processing input"],
        ["gone.mp4: changed since it was frozen"],
        [None],
    ]
    assert [tables["series"].num_rows for tables in results] == [0, 0, 2]
    assert [tables["frames"].num_rows for tables in results] == [0, 0, 4]
    assert results[0]["videos"]["name"].to_pylist() == ["empty.mp4"]


def test_a_bad_video_is_not_recorded_twice(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    (tables,) = scan(Scan({"exposure": Exposure()}, {}), tmp_path / "bad.mp4", pieces=["exposure"])
    assert all(table.num_rows == 0 for table in tables.values())


def test_a_quarantined_video_is_a_row() -> None:
    stage = Scan({}, {})
    tables = stage.failed(Item("abc", ("videos:1", "frames:2")), "quarantined")
    assert tables["videos"].select(["video_id", "error"]).to_pylist() == [{"video_id": "abc", "error": "quarantined"}]
    assert stage.failed(Item("abc", ("exposure:1",)), "quarantined")["videos"].num_rows == 0


def test_a_checksum_when_asked_for(make_video: MakeVideo) -> None:
    path = make_video()
    (tables,) = scan(Scan({}, {}, checksum=True), path)
    assert tables["videos"]["sha256"].to_pylist() == [hashlib.sha256(path.read_bytes()).hexdigest()]


def test_a_measure_that_loses_a_frame_is_a_bug_and_not_bad_input(make_video: MakeVideo) -> None:
    with pytest.raises(UnitFailed, match="twice: 1 values of value for 2 frames"):
        scan(Scan({"twice": Twice(short=True)}, {}), make_video())


def test_a_measure_and_a_cutter_may_not_share_a_name() -> None:
    with pytest.raises(ConfigError, match="share the name adaptive"):
        Scan({"adaptive": Exposure()}, {"adaptive": Adaptive()})


def test_a_declared_rate_that_is_wrong_is_counted_instead(make_video: MakeVideo) -> None:
    """Raw MPEG video has no times of its own; a GIF declares the rate of its longest pause."""
    (tables,) = scan(Scan({}, {}), make_video("film.gif", "testsrc=s=64x48:r=20:d=2", "-c:v", "gif"))
    (video,) = tables["videos"].to_pylist()
    assert video["fps_num"] / video["fps_den"] == pytest.approx(20, rel=0.01)


def test_one_frame_is_a_video(make_video: MakeVideo) -> None:
    (tables,) = scan(
        Scan({"exposure": Exposure()}, {"adaptive": Adaptive()}), make_video("one.mkv", "testsrc=s=64x48:r=10:d=0.1")
    )
    (video,) = tables["videos"].to_pylist()
    assert (video["frames"], video["error"], video["duration_s"]) == (1, None, 0.1)


@pytest.mark.parametrize(("name", "shared"), [("bikes.mp4", 1.0), ("demo.mp4", 0.75)])
def test_both_decoders_give_the_same_cuts_and_nearly_the_same_scores(name: str, shared: float, footage: Path) -> None:
    """In the flickering light of demo.mp4 many scores lie near the threshold, and saturated colours are clipped."""
    pytest.importorskip("decord")
    results = [
        scan(Scan({"exposure": Exposure()}, {"adaptive": Adaptive()}, decoder="ffmpeg"), footage / name)[0],
        scan(Scan({"exposure": Exposure()}, {"adaptive": Adaptive()}, decoder="decord"), footage / name)[0],
    ]
    one, other = (series(tables) for tables in results)
    assert results[0]["frames"]["pts"].equals(results[1]["frames"]["pts"])
    scores = [np.array(found["adaptive", "score"]["values"]) for found in (one, other)]
    luma = [np.array(found["exposure", "exposure"]["values"]).reshape(-1, 3)[:, 0] for found in (one, other)]
    assert np.abs(luma[0] - luma[1]).max() < 4.0
    assert np.median(np.abs(scores[0] - scores[1])) < 1.0
    pts = np.array(one["videos", "pts"]["pts"])
    times_s = pts / pts[1] / 24
    cuts = [set(Adaptive().transitions(Series(pts, times_s, {"score": values}))) for values in scores]
    assert len(cuts[0]) >= 5
    assert len(cuts[0] & cuts[1]) >= shared * len(cuts[0] | cuts[1])
