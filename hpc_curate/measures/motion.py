"""Motion: how fast the picture moves, as a whole and apart from the camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.records import Span

_MEAN, _CAMERA, _LOCAL = range(3)


@dataclass(frozen=True)
class Motion(Measure):
    """Dense optical flow (Farneback 2003) between small frames that are 1 / `rate_hz` seconds apart.

    The unit is the long side of the picture per second: 0.1 means that the picture travels a tenth of its width (of
    its height if it is upright) in a second. That makes values of different rates and resolutions comparable, except
    that detail finer than a cell of the small frame, and what moves more than about a quarter of the frame between
    two looks, is not seen. Flat surfaces show no motion.

    The camera's part is the similarity (shift, zoom, turn) fitted to the flow by least squares, fitted again to the
    half that it explains best; the local part is the mean distance of the flow from it.

    Columns (5 digits; null with fewer than two looks within the clip): `motion`, mean over the clip; `motion_max`,
    the fastest pair; `motion_camera`; `motion_local`; `motion_still_share`, share of pairs slower than
    `still_below_per_s`. `select` is meant to bound `motion` on both sides, as published pipelines do.
    """

    name: ClassVar[str] = "motion"
    series_settings: ClassVar[tuple[str, ...]] = ("rate_hz",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            (name, pa.float64())
            for name in ("motion", "motion_max", "motion_camera", "motion_local", "motion_still_share")
        ]
    )
    rate_hz: float = 4.0
    still_below_per_s: float = 0.005

    def start(self, facts: Facts) -> Feeder:
        return Collector("speed", _Flow(facts, self.rate_hz))

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        speeds = series.within(span).values["speed"]
        looks = speeds[~np.isnan(speeds[:, _MEAN])] if len(speeds) else speeds
        # The first look of a clip is at a pair that began before the clip.
        pairs = looks[1:].astype(np.float64)
        if not len(pairs):
            return dict.fromkeys(self.columns.names)
        mean = pairs.mean(axis=0)
        return {
            "motion": round(float(mean[_MEAN]), 5),
            "motion_max": round(float(pairs[:, _MEAN].max()), 5),
            "motion_camera": round(float(mean[_CAMERA]), 5),
            "motion_local": round(float(mean[_LOCAL]), 5),
            "motion_still_share": round(float((pairs[:, _MEAN] < self.still_below_per_s).mean()), 5),
        }


class _Flow:
    """Speeds at the first frame of each slot of 1 / rate seconds, NaN at the others; 0 at the first of the video."""

    def __init__(self, facts: Facts, rate_hz: float) -> None:
        self.facts, self.rate_hz = facts, rate_hz
        self.slot = -1
        self.last: tuple[np.ndarray, float] | None = None  # the luma looked at last, and when
        self.positions = np.zeros((0, 4))

    def __call__(self, frames: Frames) -> np.ndarray:
        speeds = np.full((len(frames.pts), 3), np.nan, np.float32)
        # A hair more, because times are rounded to microseconds.
        slots = np.floor(frames.times_s * self.rate_hz + 1e-4).astype(np.int64)
        looks = np.flatnonzero(np.diff(slots, prepend=self.slot))
        if not len(looks):
            return speeds
        self.slot = int(slots[-1])
        chosen = Frames(frames.pixels[looks], frames.pts[looks], frames.times_s[looks])
        for index, luma, time_s in zip(looks, chosen.luma(), chosen.times_s.tolist(), strict=True):
            speeds[index] = 0 if self.last is None else self._speed(luma, time_s)
            self.last = (luma, time_s)
        return speeds

    def _speed(self, luma: np.ndarray, time_s: float) -> tuple[float, float, float]:
        import cv2

        assert self.last is not None
        before, before_s = self.last
        height, width = luma.shape
        flow = np.zeros((height, width, 2), np.float32)  # in cells
        cv2.calcOpticalFlowFarneback(before, luma, flow, 0.5, 3, 9, 2, 5, 1.1, 0)
        long_side = max(self.facts.width, self.facts.height)
        # Cells need not be square; in long sides of the picture they are comparable.
        cell = np.array([self.facts.width / width, self.facts.height / height]) / long_side
        # Flow is smooth: every second cell each way tells as much as all of them.
        moved = flow[::2, ::2].reshape(-1, 2) * cell  # float64 [N, 2]
        if not len(self.positions):
            self.positions = _centred(height, width)[::2, ::2].reshape(-1, 2) * cell
        camera = fit_similarity(self.positions, moved)
        gap = max(time_s - before_s, 1e-6)
        return _length(moved) / gap, _length(camera) / gap, _length(moved - camera) / gap


def fit_similarity(positions: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The motion of a camera that shifts, zooms and turns, at every position: float64 [N, 2].

    Args:
        positions: float64 [N, 2], around the centre of the picture.
        moved: float64 [N, 2], the flow there.
    """
    best = slice(None)
    for last in (False, True):
        x, y = positions[best].T
        u, v = moved[best].T
        # u = shift_x + zoom * x - turn * y, v = shift_y + zoom * y + turn * x, by least squares.
        dx, dy, du, dv = x - x.mean(), y - y.mean(), u - u.mean(), v - v.mean()
        spread = max(float(dx @ dx + dy @ dy), 1e-12)
        zoom, turn = (dx @ du + dy @ dv) / spread, (dx @ dv - dy @ du) / spread
        shift = np.array([u.mean() - zoom * x.mean() + turn * y.mean(), v.mean() - zoom * y.mean() - turn * x.mean()])
        camera = shift + positions @ np.array([[zoom, turn], [-turn, zoom]])
        if not last:
            distance = np.hypot(*(moved - camera).T)
            best = distance <= np.median(distance)
    return camera


def _centred(height: int, width: int) -> np.ndarray:
    """Column and row of every cell, the centre of the picture being 0: float64 [height, width, 2]."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns - (width - 1) / 2, rows - (height - 1) / 2], axis=-1)


def _length(vectors: np.ndarray) -> float:
    return float(np.hypot(vectors[:, 0], vectors[:, 1]).mean())
