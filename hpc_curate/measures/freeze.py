"""Freeze: the share of a clip in which nothing moves (frozen video, slides, title cards)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.records import Span


@dataclass(frozen=True)
class Freeze(Measure):
    """Seconds in still stretches, as a share of the clip.

    As in ffmpeg's freezedetect, a frame is compared with the first frame of the stretch and not with the one before,
    so that a slow pan is not still. Other than there the largest change of any cell of the small luma frame counts
    and not the mean change, so that a small moving mouth on a still picture is not still either. A cell averages
    hundreds of pixels of the source, which takes coding noise below the default of 2 levels of 255.

    A stretch counts from `min_still_s` on: animation drawn at 8 or 12 pictures a second repeats frames but is not
    frozen. Columns: `freeze_share` (0 to 1, 4 digits), `freeze_longest_s` (3 digits), `freeze_stills`, the number of
    still stretches: a frozen clip with one of them is a static picture, with several a slide show.
    """

    name: ClassVar[str] = "freeze"
    version: ClassVar[int] = 2
    series_settings: ClassVar[tuple[str, ...]] = ("change_levels",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [("freeze_share", pa.float64()), ("freeze_longest_s", pa.float64()), ("freeze_stills", pa.int32())]
    )
    change_levels: int = 2
    min_still_s: float = 0.5

    def start(self, facts: Facts) -> Feeder:
        return Collector("still", _Stillness(self.change_levels))

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        part = series.within(span)
        if not len(part.pts):
            return dict.fromkeys(self.columns.names)
        length = (span.end_pts - span.start_pts) * facts.time_base
        # A stretch runs from a frame that differs to the next that does; the clip's first frame begins one in any
        # case. One frame that is shown for long (a variable rate) is a still stretch too.
        starts = np.flatnonzero(part.values["still"][1:] < 0.5) + 1
        edges = np.concatenate([[span.start_pts], part.pts[starts], [span.end_pts]])
        lengths = np.diff(edges) * float(facts.time_base)
        still = lengths[lengths >= self.min_still_s]
        return {
            "freeze_share": round(min(1.0, float(still.sum()) / float(length)), 4),
            "freeze_longest_s": round(float(still.max(initial=0.0)), 3),
            "freeze_stills": len(still),
        }


class _Stillness:
    """1 for a frame that looks like the first frame of its stretch, 0 for the first frame of a stretch."""

    def __init__(self, change_levels: int) -> None:
        self.change_levels = change_levels
        self.first: np.ndarray | None = None  # uint8 [h, w]

    def __call__(self, frames: Frames) -> np.ndarray:
        import cv2

        luma, first = frames.luma(), self.first
        still = np.zeros(len(luma), np.float32)
        for index, frame in enumerate(luma):
            if first is not None and cv2.absdiff(frame, first).max() <= self.change_levels:
                still[index] = 1
            else:
                first = frame
        # A copy, because a view would keep the whole run in memory.
        self.first = None if first is None else first.copy()
        return still
