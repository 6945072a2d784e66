"""Borders: the rectangle that is left when black bars are cropped away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.records import Span

_STRIP = 16  # lines looked at together: most pictures have no border, and one strip tells


@dataclass(frozen=True)
class Borders(Measure):
    """Black bars, from native luma, where many frames agree; a dark scene is left alone.

    A line belongs to the picture if more than `speck_share` of its pixels are above `black_level`. Coding leaves noise
    in the blocks that an edge runs through, and in a small picture two pixels are such a share: between black lines and
    one that is less than `block_px` further and brighter on average than `black_level`, which is what ffmpeg's
    cropdetect asks of every line, a line is noise. A side is cropped to where the picture begins in the clip's
    brightest moments (the smallest bar of any of its frames: a maximum over luma, never a minimum), and only if all of
    this holds:
    - the picture begins there along a straight edge: at least `straight_share` of the pixels just inside are lit;
    - at least half of the clip's lit frames, or of its video's, say so, within `tolerance_px`;
    - at least `min_frames` frames of the whole video say so: the bars of a short clip are those of its video;
    - the opposite bar is as wide within `tolerance_px`, or this one is at most `thin_share` of the picture. A black
      sky over a horizon passes every other test.

    The black level is that of ffmpeg's cropdetect (24 of limited-range luma, which is 10 of full range).
    Columns in display pixels, even numbers, rounded inwards: `crop_x`, `crop_y`, `crop_w`, `crop_h` (the whole
    picture where there are no bars); `border_share`, the cropped share of the area (4 digits).
    """

    name: ClassVar[str] = "borders"
    version: ClassVar[int] = 2
    grid: ClassVar[str] = "native"
    series_settings: ClassVar[tuple[str, ...]] = (
        "black_level",
        "speck_share",
        "straight_share",
        "block_px",
        "tolerance_px",
    )
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            *((name, pa.int32()) for name in ("crop_x", "crop_y", "crop_w", "crop_h")),
            ("border_share", pa.float64()),
        ]
    )
    black_level: int = 10
    speck_share: float = 0.01
    straight_share: float = 0.5
    block_px: int = 16  # a macroblock of MPEG-2 to H.264
    tolerance_px: int = 4
    min_frames: int = 8
    thin_share: float = 0.03

    def start(self, facts: Facts) -> Feeder:
        return Collector("bars", lambda frames: self._of(frames, facts))

    def _of(self, frames: Frames, facts: Facts) -> np.ndarray:
        scale = np.array([facts.width / frames.pixels.shape[2], facts.height / frames.pixels.shape[1]] * 2)
        bars = np.array([self._of_one(luma) for luma in frames.luma()])  # [N, 8]
        bars[:, :4] *= scale
        return bars

    def _of_one(self, luma: np.ndarray) -> list[float]:
        """Bars left, top, right, bottom in pixels, then for each side 1 if the picture begins there along a line.

        NaN for a frame without a lit line.
        """
        top, top_lit = self._bar(luma)
        if top == len(luma):
            return [math.nan] * 8
        bottom, bottom_lit = self._bar(luma[::-1])
        # Bars above and below would thin out the columns.
        middle = luma[top : len(luma) - bottom].T
        left, left_lit = self._bar(middle)
        right, right_lit = self._bar(middle[::-1])
        straight = [float(lit >= self.straight_share) for lit in (left_lit, top_lit, right_lit, bottom_lit)]
        return [left, top, right, bottom, *straight]

    def _bar(self, lines: np.ndarray) -> tuple[int, float]:
        """How many lines are black before the first that is not, and how much of the lines after them is lit."""
        for start in range(0, len(lines), _STRIP):
            lit = (lines[start : start + _STRIP] > self.black_level).mean(axis=1)
            found = np.flatnonzero(lit > self.speck_share)
            if len(found):
                first = self._behind_noise(lines, start + int(found[0]))
                # Scaling and coding blur the edge itself over a few lines.
                inside = (lines[first : first + 1 + self.tolerance_px] > self.black_level).mean(axis=1)
                return first, float(inside.max())
        return len(lines), 0.0

    def _behind_noise(self, lines: np.ndarray, first: int) -> int:
        """The first line that is not black on average, if it is within a block of the first that is not all black."""
        bright = np.flatnonzero(lines[first : first + self.block_px].mean(axis=1) > self.black_level)
        # Where nothing is all black there is no bar that could be noisy.
        return first + int(bright[0]) if first and len(bright) else first

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        everywhere, here = _lit(series), _lit(series.within(span))
        left, top, right, bottom = (self._side(everywhere, here, side) for side in range(4))
        left, right = self._pair(left, right, facts.width)
        top, bottom = self._pair(top, bottom, facts.height)
        x, y = _even_up(left), _even_up(top)
        width = _even_down(facts.width - right) - x
        height = _even_down(facts.height - bottom) - y
        return {
            "crop_x": x,
            "crop_y": y,
            "crop_w": width,
            "crop_h": height,
            # Of a picture of one line there is no even part.
            "border_share": round(1 - width * height / max(_even_down(facts.width) * _even_down(facts.height), 1), 4),
        }

    def _side(self, everywhere: np.ndarray, here: np.ndarray, side: int) -> float:
        if not len(here):
            return 0.0
        bar = float(here[:, side].min())
        agreed = everywhere[self._agree(everywhere, side, bar)]
        of_clip = 2 * self._agree(here, side, bar).sum() >= len(here)
        of_video = 2 * len(agreed) >= len(everywhere)
        if not (of_clip or of_video) or len(agreed) < self.min_frames:
            return 0.0
        # The edge where most of the video sees it, so that clips of one video are cropped alike.
        return min(bar, float(np.median(agreed[:, side])))

    def _pair(self, one: float, other: float, size: int) -> tuple[float, float]:
        if abs(one - other) <= self.tolerance_px:
            return one, other
        thin = self.thin_share * size
        return one if one <= thin else 0.0, other if other <= thin else 0.0

    def _agree(self, bars: np.ndarray, side: int, bar: float) -> np.ndarray:
        return (np.abs(bars[:, side] - bar) <= self.tolerance_px) & (bars[:, 4 + side] > 0)


def _lit(series: Series) -> np.ndarray:
    """The frames that show something: float64 [N, 8]."""
    bars = series.values["bars"].astype(np.float64).reshape(-1, 8)
    return bars[~np.isnan(bars[:, 0])]


def _even_up(value: float) -> int:
    return 2 * math.ceil(value / 2 - 1e-6)


def _even_down(value: float) -> int:
    return 2 * math.floor(value / 2 + 1e-6)
