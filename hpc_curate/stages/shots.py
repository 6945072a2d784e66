"""shots: from the statistics of scan to clips and their columns. Decodes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.spans import Cut, Longer, Rules, cut
from hpc_curate.clips.stitch import transitions
from hpc_curate.cutters import Cutter
from hpc_curate.errors import ConfigError, UnitFailed
from hpc_curate.inputs import Inputs
from hpc_curate.measures import Facts, Measure, Series
from hpc_curate.records import CLIPS, Span, clip_id, seconds
from hpc_curate.stage import Item, PerUnit, Tables

# One row per usable video: the seconds of its clips and of the other columns add up to its duration.
SHOT_COUNTS = pa.schema(
    [
        ("video_id", pa.string()),
        ("shots", pa.int32()),
        ("clips", pa.int32()),
        ("short_spans", pa.int32()),
        ("clips_s", pa.float64()),
        ("short_s", pa.float64()),
        ("trimmed_s", pa.float64()),
        ("long_dropped_s", pa.float64()),
        ("transition_s", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Shots(PerUnit):
    """One clip is one shot, or a piece of one, with the columns of every measure.

    Only what scan stored is read: another threshold, length rule or aggregation decodes nothing.
    The shortest clip is that of Cosmos and Open-Sora 2.0. The longest leaves room for the windows that published
    models train on (Movie Gen 16 s, Goku 10 s, Cosmos-Predict 2.5 captions 5 s), while a cut that was missed, or
    a bad moment, costs 20 s and not the minute of Cosmos. `trim_start_s` and `trim_end_s` are cut off every shot,
    against dissolves that a cutter takes for a hard cut.

    Transitions are those that any of the cutters finds; no frame of a gradual one is part of a clip. Where the cutter
    `gradual` is among them, a hard cut between pictures that differ by less than `stitch_below` is undone: a flash, or
    a bird before the lens. On composed reels of an odd seed up to 10 only did good (tools/bench_cuts.py); 6 leaves room
    for cuts between like pictures, of which those have none.
    """

    name: ClassVar[str] = "shots"
    cutters: dict[str, Cutter]
    measures: dict[str, Measure]
    min_duration_s: float = 2.0
    max_duration_s: float = 20.0
    longer: Longer = "split"  # split: equal pieces; truncate: the beginning; drop: nothing of it
    trim_start_s: float = 0.0
    trim_end_s: float = 0.0
    stitch_below: float | None = 6.0  # mean levels of 255; null: never

    def __post_init__(self) -> None:
        self._rules()
        if not self.cutters:
            raise ConfigError("stage shots needs a cutter; say cutter=[adaptive,gradual]")
        names = [*CLIPS.names, *(column for measure in self.measures.values() for column in measure.columns.names)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"two writers of the clip columns {', '.join(twice)}")

    def _rules(self) -> Rules:
        return Rules(self.min_duration_s, self.max_duration_s, self.longer, self.trim_start_s, self.trim_end_s)

    def reads(self) -> tuple[str, ...]:
        return ("videos", "series")

    def writes(self) -> dict[str, pa.Schema]:
        columns = [column for name in sorted(self.measures) for column in self.measures[name].columns]
        return {"rows": pa.schema([*CLIPS, *columns]), "shot_counts": SHOT_COUNTS}

    def settings(self) -> dict[str, Any]:
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        own["cutters"] = {name: _described(cutter) for name, cutter in self.cutters.items()}
        own["measures"] = {name: _described(measure) for name, measure in self.measures.items()}
        return own

    def process(self, model: Any, inputs: Inputs, item: Item) -> Tables:
        stored = _Stored(inputs.table("series"))
        rows: list[dict[str, Any]] = []
        counts: list[dict[str, Any]] = []
        for video in inputs.table("videos").to_pylist():
            if video["error"] is None:
                found = self._cut(video, stored)
                rows += self._clips(video, found.clips, stored)
                counts.append(_counted(video, found))
        schemas = self.writes()
        return {
            "rows": pa.Table.from_pylist(rows, schema=schemas["rows"]),
            "shot_counts": pa.Table.from_pylist(counts, schema=SHOT_COUNTS),
        }

    def _cut(self, video: dict[str, Any], stored: _Stored) -> Cut:
        series = {name: stored.series(video, cutter) for name, cutter in self.cutters.items()}
        bounds = np.append(stored.pts(video, "small"), video["end_pts"])
        return cut(bounds, transitions(self.cutters, series, self.stitch_below), self._rules(), _time_base(video))

    def _clips(self, video: dict[str, Any], spans: list[Span], stored: _Stored) -> Iterator[dict[str, Any]]:
        facts = Facts(video["width"], video["height"], Fraction(video["fps_num"], video["fps_den"]), _time_base(video))
        frames = stored.pts(video, "small")
        series = {name: stored.series(video, measure) for name, measure in self.measures.items()}
        for span in spans:
            first, last = np.searchsorted(frames, [span.start_pts, span.end_pts])
            row = _clip(video, span, int(last - first))
            for name, measure in self.measures.items():
                row.update(measure.aggregate(series[name], span, facts))
            yield row


class _Stored:
    """The series of a unit, by video."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        self._rows: dict[str, dict[tuple[str, str, str], int]] = {}
        keys = (table[name].to_pylist() for name in ("video_id", "piece", "grid", "name"))
        for row, (video, piece, grid, name) in enumerate(zip(*keys, strict=True)):
            self._rows.setdefault(video, {})[piece, grid, name] = row

    def pts(self, video: dict[str, Any], grid: str) -> np.ndarray:
        """int64 [N], the ticks of all frames of a grid."""
        for (_, its_grid, name), row in self._rows.get(video["video_id"], {}).items():
            if (its_grid, name) == (grid, "pts"):
                return self._table["pts"][row].values.to_numpy()
        raise UnitFailed(f"scan stored no times of {grid} frames of video {video['video_id']}")

    def series(self, video: dict[str, Any], measure: Measure) -> Series:
        """What a measure or cutter stored; the times only for one that stores nothing."""
        pts = self.pts(video, measure.grid)
        # In this order the division is exact to the last bit of a float.
        base = _time_base(video)
        times_s = np.round((pts - video["start_pts"]) * base.numerator / base.denominator, 6)
        values = {
            name: self._values(row, len(pts), f"{measure.name} of video {video['video_id']}")
            for (piece, _, name), row in self._rows[video["video_id"]].items()
            if piece == measure.name and name != "pts"
        }
        if not values and getattr(measure, "needs_frames", True):
            raise UnitFailed(f"scan stored no series of {measure.name} of video {video['video_id']}")
        return Series(pts, times_s, values)

    def _values(self, row: int, count: int, whose: str) -> np.ndarray:
        values = self._table["values"][row].values.to_numpy()
        dim = self._table["dim"][row].as_py()
        if len(values) != count * dim:
            raise UnitFailed(f"{whose}: {len(values)} values of {dim} each for {count} frames")
        return values if dim == 1 else values.reshape(count, dim)


def _described(measure: Measure) -> dict[str, Any]:
    return {"name": measure.name, "version": measure.version, **dataclasses.asdict(measure)}


def _time_base(video: dict[str, Any]) -> Fraction:
    return Fraction(video["time_base_num"], video["time_base_den"])


def _clip(video: dict[str, Any], span: Span, frames: int) -> dict[str, Any]:
    """The columns that every clip has."""
    base = _time_base(video)
    duration = (span.end_pts - span.start_pts) * base
    same = ("width", "height", "bits_per_pixel", "interlaced", "hdr", "codec")
    return {
        "clip_id": clip_id(video["video_id"], span),
        "video_id": video["video_id"],
        "start_pts": span.start_pts,
        "end_pts": span.end_pts,
        "start_s": seconds(span.start_pts - video["start_pts"], base),
        "end_s": seconds(span.end_pts - video["start_pts"], base),
        "duration_s": seconds(span.end_pts - span.start_pts, base),
        "frame_count": frames,
        "fps": round(float(frames / duration), 6),
        "has_audio": video["audio_codec"] is not None,
        **{name: video[name] for name in same},
    }


def _counted(video: dict[str, Any], found: Cut) -> dict[str, Any]:
    base = _time_base(video)
    return {
        "video_id": video["video_id"],
        "shots": found.shots,
        "clips": len(found.clips),
        "short_spans": found.short_spans,
        "clips_s": seconds(sum(span.end_pts - span.start_pts for span in found.clips), base),
        "short_s": seconds(found.short, base),
        "trimmed_s": seconds(found.trimmed, base),
        "long_dropped_s": seconds(found.long_dropped, base),
        "transition_s": seconds(found.transition, base),
    }
