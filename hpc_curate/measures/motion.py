"""Motion: how fast the picture moves, as a whole and apart from the camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.records import Span

_MEAN, _CAMERA, _LOCAL, _RESIDUAL = range(4)
_SPEEDS = ("motion", "motion_max", "motion_camera", "motion_local")


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
    `still_below_per_s`; `motion_residual`, the displaced frame difference of the median pair: how much the second
    look differs from the first one moved along the flow, in levels of 255 (2 digits).

    What they tell apart: a static picture has next to no `motion`, a chaotic one a high `motion_residual` (nothing
    moves there, things are replaced: strobes, scrambled or glitching pictures, cuts that were missed), a pan or zoom
    over a still picture next to no `motion_local` beside its `motion_camera`. Slides are told by `freeze`, a trembling
    camera by `shake`. `select` is meant to bound `motion` on both sides, as published pipelines do.

    Published units. A mean flow (RAFT, UniMatch, Farneback, motion vectors) of p pixels between frames 1 / r seconds
    apart, on pictures with a long side of w pixels, is p * r / w long sides a second: RAFT >= 20 at 960 pixels and 2
    looks a second is 0.042. The values of this measure are larger than those of a flow of more pixels, because a cell
    of a small frame hides the still ground around what moves: on seven real clips 1.1 to 2.0 times, 1.5 in the median,
    of OpenCV's Farneback at 320 pixels and the same 4 looks a second. The rate matters too, since things move to and
    fro: that flow is 0.5 to 1.0 times as fast at 2 looks a second, and 1.0 to 2.0 times at 8. VMAF motion is a change
    of levels that depends on texture, and no speed: it has no factor, and orders those clips alike with a rank
    correlation of 0.75.
    """

    name: ClassVar[str] = "motion"
    version: ClassVar[int] = 2
    series_settings: ClassVar[tuple[str, ...]] = ("rate_hz",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [(name, pa.float64()) for name in (*_SPEEDS, "motion_still_share", "motion_residual")]
    )
    rate_hz: float = 4.0
    still_below_per_s: float = 0.005

    def start(self, facts: Facts) -> Feeder:
        return Collector("flow", _Flow(facts, self.rate_hz))

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        flows = series.within(span).values["flow"]
        looks = flows[~np.isnan(flows[:, _MEAN])] if len(flows) else flows
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
            "motion_residual": round(float(np.median(pairs[:, _RESIDUAL])), 2),
        }


class _Flow:
    """Speeds and residual at the first frame of each slot of 1 / rate seconds, NaN at the others; 0 at the first."""

    def __init__(self, facts: Facts, rate_hz: float) -> None:
        self.facts, self.rate_hz = facts, rate_hz
        self.slot = -1
        self.last: tuple[np.ndarray, float] | None = None  # the luma looked at last, and when
        self.positions = np.zeros((0, 4))

    def __call__(self, frames: Frames) -> np.ndarray:
        speeds = np.full((len(frames.pts), 4), np.nan, np.float32)
        # A hair more, because times are rounded to microseconds.
        slots = np.floor(frames.times_s * self.rate_hz + 1e-4).astype(np.int64)
        looks = np.flatnonzero(np.diff(slots, prepend=self.slot))
        if not len(looks):
            return speeds
        self.slot = int(slots[-1])
        chosen = Frames(frames.pixels[looks], frames.pts[looks], frames.times_s[looks])
        for index, luma, time_s in zip(looks, chosen.luma(), chosen.times_s.tolist(), strict=True):
            speeds[index] = 0 if self.last is None else self._look(luma, time_s)
            self.last = (luma, time_s)
        return speeds

    def _look(self, luma: np.ndarray, time_s: float) -> tuple[float, ...]:
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
        speeds = (_length(part) / gap for part in (moved, camera, moved - camera))
        return (*speeds, _residual(before, luma, flow))


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


def _residual(before: np.ndarray, after: np.ndarray, flow: np.ndarray) -> float:
    """Mean difference between a picture and the one after it, fetched back along the flow."""
    import cv2

    rows, columns = np.mgrid[: before.shape[0], : before.shape[1]].astype(np.float32)
    # float32, because moving whole levels would round half a level away.
    fetched = cv2.remap(
        after.astype(np.float32),
        columns + flow[..., 0],
        rows + flow[..., 1],
        cv2.INTER_LINEAR,
        None,
        cv2.BORDER_REPLICATE,
    )
    return float(np.abs(fetched - before).mean())


def _length(vectors: np.ndarray) -> float:
    return float(np.hypot(vectors[:, 0], vectors[:, 1]).mean())
