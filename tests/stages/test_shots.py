"""Clips and their columns from stored series, on videos small enough to do in one's head."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.cutters import Cutter
from hpc_curate.cutters.adaptive import Adaptive
from hpc_curate.cutters.stride import Stride
from hpc_curate.errors import ConfigError, UnitFailed
from hpc_curate.measures import Measure
from hpc_curate.measures.exposure import Exposure
from hpc_curate.records import CLIPS, SERIES, VIDEOS
from hpc_curate.stage import Item
from hpc_curate.stages.shots import Shots


@dataclass(frozen=True)
class Marked(Cutter):
    """Hard cuts where the stored series is 1."""

    name: ClassVar[str] = "marked"

    def transitions(self, series):
        marks = np.flatnonzero(series.values["mark"]).tolist()
        return [(mark, mark) for mark in marks]


@dataclass(frozen=True)
class Faded(Cutter):
    """One gradual transition over all frames whose stored level is neither the first nor the last one."""

    name: ClassVar[str] = "faded"
    signature: ClassVar[str | None] = "level"

    def transitions(self, series):
        level = series.values["level"][:, 0]
        inside = np.flatnonzero((level != level[0]) & (level != level[-1]))
        return [(int(inside[0]), int(inside[-1]) + 1)] if len(inside) else []


@dataclass(frozen=True)
class Brightest(Measure):
    """The largest stored level of a clip."""

    name: ClassVar[str] = "brightest"
    columns: ClassVar[pa.Schema] = pa.schema([("brightest", pa.float32())])

    def aggregate(self, series, span, facts):
        return {"brightest": float(series.within(span).values["level"].max())}


@dataclass
class Stored:
    """What shots reads."""

    videos: list[dict[str, Any]]
    series: list[dict[str, Any]]

    def table(self, name, columns=None):
        rows, schema = {"videos": (self.videos, VIDEOS), "series": (self.series, SERIES)}[name]
        return pa.Table.from_pylist([{field: row.get(field) for field in schema.names} for row in rows], schema=schema)


def video(name, pts, end, base=(1, 1000)):
    facts = {"width": 640, "height": 360, "fps_num": 10, "fps_den": 1, "bits_per_pixel": 0.1, "codec": "h264"}
    times = {"start_pts": int(pts[0]), "end_pts": int(end), "time_base_num": base[0], "time_base_den": base[1]}
    return {"video_id": name, "interlaced": False, "hdr": False, "audio_codec": "aac", **facts, **times}


def stored(name, piece, series, values, pts):
    values = np.asarray(values, np.float32)
    row = {"video_id": name, "piece": piece, "grid": "small"}
    return [
        {**row, "name": "pts", "dim": 1, "pts": list(map(int, pts)), "values": None},
        {**row, "name": series, "dim": values.shape[1] if values.ndim > 1 else 1, "values": values.ravel().tolist()},
    ]


def only(*cutters):
    return {cutter.name: cutter for cutter in cutters}


def marked(name, pts, cuts):
    return stored(name, "marked", "mark", np.isin(np.arange(len(pts)), cuts), pts)


def made(stage, inputs):
    tables = stage.process(None, inputs, Item("all", ()))
    assert {name: table.schema for name, table in tables.items()} == stage.writes()
    return tables["rows"].to_pylist(), tables["shot_counts"].to_pylist()


@pytest.mark.parametrize("settings", [{"min_duration_s": 5.0, "max_duration_s": 4.0}, {"trim_end_s": -1.0}], ids=str)
def test_rules_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        Shots(cutters=only(Stride()), measures={}, **settings)


PTS = 500 + np.arange(100) * 100  # ten seconds at 10 frames a second


def test_clips_have_the_columns_of_the_video_and_of_every_measure():
    level = np.arange(100)
    series = marked("v", PTS, [40]) + stored("v", "brightest", "level", level, PTS)
    stage = Shots(cutters=only(Marked()), measures={"brightest": Brightest()})
    rows, counts = made(stage, Stored([video("v", PTS, 10500)], series))
    assert [(row["clip_id"], row["start_s"], row["end_s"]) for row in rows] == [
        ("v_500_4500", 0.0, 4.0),
        ("v_4500_10500", 4.0, 10.0),
    ]
    assert [row["brightest"] for row in rows] == [39.0, 99.0]
    assert [(row["frame_count"], row["fps"], row["duration_s"]) for row in rows] == [(40, 10.0, 4.0), (60, 10.0, 6.0)]
    assert (rows[0]["width"], rows[0]["codec"], rows[0]["has_audio"], rows[0]["hdr"]) == (640, "h264", True, False)
    assert counts == [
        {"video_id": "v", "shots": 2, "clips": 2, "short_spans": 0, "clips_s": 10.0, "short_s": 0.0}
        | {"trimmed_s": 0.0, "long_dropped_s": 0.0, "transition_s": 0.0}
    ]


def test_seconds_are_counted_from_the_first_frame_in_an_odd_time_base():
    pts = 7 + np.arange(100)
    inputs = Stored([video("v", pts, 107, base=(1001, 24000))], marked("v", pts, []))
    rows, _ = made(Shots(cutters=only(Marked()), measures={}), inputs)
    assert rows[0]["duration_s"] == round(100 * 1001 / 24000, 6) and rows[0]["fps"] == 23.976024


def test_the_seconds_of_a_video_add_up():
    stage = Shots(cutters=only(Marked()), measures={}, max_duration_s=3.0, longer="truncate", trim_start_s=0.25)
    _, counts = made(stage, Stored([video("v", PTS, 10500)], marked("v", PTS, [10, 35])))
    seconds = [value for name, value in counts[0].items() if name.endswith("_s")]
    assert round(sum(seconds), 6) == 10.0 and counts[0]["short_s"] == 1.0 and counts[0]["long_dropped_s"] == 3.2


def test_a_video_with_an_error_makes_no_clips():
    broken = {**video("broken", PTS, 10500), "error": "no video stream"}
    inputs = Stored([broken, video("v", PTS, 10500)], marked("v", PTS, []))
    rows, counts = made(Shots(cutters=only(Marked()), measures={}), inputs)
    assert [row["video_id"] for row in rows] == ["v"] == [row["video_id"] for row in counts]


def test_a_cutter_without_frames_needs_times_only():
    inputs = Stored([video("v", PTS, 10500)], stored("v", "exposure", "exposure", np.zeros((100, 3)), PTS))
    rows, _ = made(Shots(cutters=only(Stride(stride_s=5.0)), measures={"exposure": Exposure()}), inputs)
    assert [row["start_s"] for row in rows] == [0.0, 5.0]
    assert rows[0]["luma_mean"] == 0.0


@pytest.mark.parametrize("missing", ["cutter", "measure", "times"])
def test_a_series_that_scan_did_not_store_fails_the_unit(missing):
    series = marked("v", PTS, []) if missing == "measure" else stored("v", "brightest", "level", np.zeros(100), PTS)
    inputs = Stored([video("v", PTS, 10500)], [] if missing == "times" else series)
    with pytest.raises(UnitFailed, match="scan stored no"):
        Shots(cutters=only(Marked()), measures={"brightest": Brightest()}).process(None, inputs, Item("all", ()))


def test_a_series_of_another_length_fails_the_unit():
    series = marked("v", PTS, [])
    series[1]["values"] = series[1]["values"][:-1]
    with pytest.raises(UnitFailed, match="99 values of 1 each for 100 frames"):
        Shots(cutters=only(Marked()), measures={}).process(
            None, Stored([video("v", PTS, 10500)], series), Item("all", ())
        )


def test_transitions_are_those_of_all_cutters():
    level = np.repeat([0, 50, 100], [60, 10, 30])[:, None] * np.ones(3)
    series = marked("v", PTS, [20, 62]) + stored("v", "faded", "level", level, PTS)[1:]
    stage = Shots(cutters=only(Marked(), Faded()), measures={}, stitch_below=None)
    rows, counts = made(stage, Stored([video("v", PTS, 10500)], series))
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0.0, 2.0), (2.0, 6.0), (7.0, 10.0)]
    assert counts[0]["transition_s"] == 1.0 and counts[0]["shots"] == 3


def test_shots_that_look_alike_are_stitched_if_asked_to():
    level = np.repeat([0, 40], [70, 30])[:, None] * np.ones(3)
    inputs = Stored([video("v", PTS, 10500)], marked("v", PTS, [30, 70]))
    inputs.series += stored("v", "faded", "level", level, PTS)[1:]
    starts = {}
    for below in (None, 0.0, 10.0, 41.0):
        rows, _ = made(Shots(cutters=only(Marked(), Faded()), measures={}, stitch_below=below), inputs)
        starts[below] = [row["start_s"] for row in rows]
    assert starts == {None: [0.0, 3.0, 7.0], 0.0: [0.0, 3.0, 7.0], 10.0: [0.0, 7.0], 41.0: [0.0]}


def test_boundaries_at_fixed_times_are_not_stitched():
    inputs = Stored([video("v", PTS, 10500)], stored("v", "faded", "level", np.zeros((100, 3)), PTS))
    rows, _ = made(Shots(cutters=only(Stride(stride_s=4.0), Faded()), measures={}), inputs)
    assert [row["start_s"] for row in rows] == [0.0, 4.0, 8.0]


def test_without_a_cutter_there_are_no_shots():
    with pytest.raises(ConfigError, match="cutter="):
        Shots(cutters={}, measures={})


def test_only_columns_of_chosen_measures_are_written():
    assert Shots(cutters=only(Stride()), measures={}).writes()["rows"].names == CLIPS.names
    names = Shots(cutters=only(Stride()), measures={"exposure": Exposure()}).writes()["rows"].names
    assert names == [*CLIPS.names, *Exposure.columns.names]


def test_the_signature_knows_the_settings_and_the_version_of_cutter_and_measures():
    def signed(**changed):
        return Shots(**{"cutters": only(Adaptive()), "measures": {"exposure": Exposure()}, **changed}).signature([])

    @dataclass(frozen=True)
    class Newer(Exposure):
        version: ClassVar[int] = 2

    signatures = [
        signed(),
        signed(cutters=only(Adaptive(threshold=3.5))),
        signed(cutters=only(Stride())),
        signed(measures={}),
        signed(measures={"exposure": Exposure(dark_below=9)}),
        signed(measures={"exposure": Newer()}),
        signed(max_duration_s=10.0),
        signed(cutters=only(Adaptive(), Stride())),
    ]
    assert len(set(signatures)) == len(signatures) and signed() == signatures[0]


def test_the_rows_do_not_depend_on_the_order_of_the_measures():
    one, other = {"exposure": Exposure(), "brightest": Brightest()}, {"brightest": Brightest(), "exposure": Exposure()}
    left, right = (Shots(cutters=only(Stride()), measures=measures) for measures in (one, other))
    assert left.writes() == right.writes() and left.signature([]) == right.signature([])


def test_two_measures_may_not_write_one_column():
    with pytest.raises(ConfigError, match="brightest"):
        Shots(cutters=only(Stride()), measures={"one": Brightest(), "two": dataclasses.replace(Brightest())})
