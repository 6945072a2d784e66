"""Gradual transitions: the picture goes straight from one shot to another, in more than one frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_curate.cutters import Cutter
from hpc_curate.cutters.content import apart
from hpc_curate.measures import Collector, Facts, Feeder, Series

_LUMA_TILES, _CHROMA_TILES = 8, 4  # each way; powers of two, so that runs of frames of any length give the same means
_FINER = 1.3  # each length that is tried is so many times the one before
_LOOK, _SAME_WAY = 3, 0.3  # steps, and their least share of what as many steps of the run do
_OLD_UNTIL, _NEW_FROM = 0.04, 0.96  # of the way from the old picture to the new one
_BLOCK = 4096  # frames whose distances are computed at once


@dataclass(frozen=True)
class Gradual(Cutter):
    """Fades, dissolves and wipes, and no hard cuts: choose it beside a cutter that finds those.

    As in the twin comparison (Zhang, Kankanhalli and Smoliar 1993), a transition is a run of frames that differ little
    from one to the next, and much from the first to the last. What tells it from motion is ours: in a fade, a dissolve
    or a wipe every part of the picture goes from its old value to its new one without turning back, so that the sum of
    its steps is the distance it covers; under motion it wanders. A picture is described by mean luma in 8 x 8 tiles and
    mean chroma in 4 x 4, in whole levels (the series `tiles`, float32 [N, 96]).

    Thresholds were chosen on composed reels of seed 1 (tools/bench_cuts.py), and none on labelled footage; a false
    alarm counted four times, because real footage has far fewer transitions in a minute than the reels.
    """

    name: ClassVar[str] = "gradual"
    signature: ClassVar[str | None] = "tiles"
    min_change: float = 12.0  # mean levels of 255 between the frames at its ends
    min_directness: float = 0.9  # distance between the ends over the sum of the steps between them
    max_step_share: float = 0.5  # of the distance in one step; above it, it is a hard cut
    max_rate_around: float = 0.9  # mean step before and after it, over the mean step within
    shortest_s: float = 0.2
    longest_s: float = 2.0
    min_shot_s: float = 0.6  # what lies between two transitions and is shorter belongs to them: out, black, in

    def start(self, facts: Facts) -> Feeder:
        return Collector("tiles", lambda frames: tile_means(frames.pixels))

    def transitions(self, series: Series) -> list[tuple[int, int]]:
        tiles = series.values["tiles"]
        if len(tiles) < 2:
            return []
        found: list[tuple[float, int, int]] = []
        # Times are rounded to microseconds: in a stream of finer ticks most frames may come at the same one.
        for frames in self._lengths(max(float(np.median(np.diff(series.times_s))), 1e-6)):
            found += self._candidates(tiles, frames)
        ranges: list[tuple[int, int]] = []
        for _, first, last in sorted(found, key=lambda one: (-one[0], one[1:])):
            if all(last <= begin or end <= first for begin, end in ranges):
                ranges.append((first, last))
        return self._joined(sorted(_extent(tiles, *ends) for ends in ranges), series)

    def _lengths(self, frame_s: float) -> Iterator[int]:
        """Of the runs that are tried, in steps."""
        last, length_s = 0, self.shortest_s
        while length_s <= self.longest_s:
            frames = max(3, round(length_s / frame_s))
            if frames != last:
                yield frames
            last, length_s = frames, length_s * _FINER

    def _candidates(self, tiles: np.ndarray, length: int) -> list[tuple[float, int, int]]:
        """The runs of `length` steps that may be a transition, as (how sure, first frame, last frame)."""
        if len(tiles) <= length:
            return []
        steps = distances(tiles, 1)
        way = np.concatenate([[0.0], np.cumsum(steps)])
        first = np.arange(len(tiles) - length)
        covered, walked = distances(tiles, length), np.maximum(way[length:] - way[:-length], 1e-6)
        largest = np.lib.stride_tricks.sliding_window_view(steps, length).max(axis=1)
        around = max(3, length // 2)
        before = np.maximum(first - around, 0)
        after = np.minimum(first + length + around, len(tiles) - 1)
        rate_before = (way[first] - way[before]) / np.maximum(first - before, 1)
        rate_after = (way[after] - way[first + length]) / np.maximum(after - first - length, 1)
        directness = covered / walked
        chosen = (
            (covered >= self.min_change)
            & (directness >= self.min_directness)
            & (largest <= self.max_step_share * covered)
            & (np.maximum(rate_before, rate_after) <= self.max_rate_around * walked / length)
        )
        return [(float(covered[at] * directness[at]), at, at + length) for at in np.flatnonzero(chosen).tolist()]

    def _joined(self, ranges: list[tuple[int, int]], series: Series) -> list[tuple[int, int]]:
        times_s = series.times_s.tolist()
        joined: list[tuple[int, int]] = []
        for end, start in ranges:
            if joined and apart(times_s, joined[-1][1], end) < self.min_shot_s:
                joined[-1] = (joined[-1][0], max(start, joined[-1][1]))
            else:
                joined.append((end, start))
        return joined


def tile_means(pixels: np.ndarray) -> np.ndarray:
    """Of pictures uint8 [N, h, w, 3]: mean luma of 8 x 8 tiles, then both means of chroma of 4 x 4, in whole levels.

    Returns:
        float32 [N, 96].
    """
    import cv2

    count, height, width, _ = pixels.shape
    # One tall picture: one call for the whole run.
    tall = cv2.cvtColor(pixels.reshape(count * height, width, 3), cv2.COLOR_RGB2YCrCb)
    parts = [
        cv2.resize(tall, (side, side * count), interpolation=cv2.INTER_AREA)[..., channels].reshape(count, -1)
        for side, channels in ((_LUMA_TILES, slice(0, 1)), (_CHROMA_TILES, slice(1, 3)))
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def distances(tiles: np.ndarray, apart_by: int) -> np.ndarray:
    """Mean absolute difference of each frame to the one `apart_by` later: float64 [N - apart_by]."""
    later = tiles[apart_by:]
    blocks = [
        np.abs(later[start : start + _BLOCK] - tiles[start : start + len(later[start : start + _BLOCK])]).mean(axis=1)
        for start in range(0, len(later), _BLOCK)
    ]
    return np.concatenate(blocks).astype(np.float64)


def _extent(tiles: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """The frames of a transition, of which a run is known to be part: from the first one that is no longer the old
    picture to before the first one that is the new picture."""

    def far(one: int, other: int) -> float:
        return float(np.abs(tiles[one] - tiles[other]).mean())

    # As far as the ends still go apart, not much slower; three steps at once, because wipes are uneven.
    least = _SAME_WAY * _LOOK * far(first, last) / (last - first)
    earliest, latest = max(2 * first - last, _LOOK), min(2 * last - first, len(tiles) - 1 - _LOOK)
    while first > earliest and far(first - _LOOK, last) - far(first, last) >= least:
        first -= 1
    while last < latest and far(first, last + _LOOK) - far(first, last) >= least:
        last += 1
    whole = tiles[last] - tiles[first]
    share = (tiles[first : last + 1] - tiles[first]) @ whole / (whole @ whole)
    inside = np.flatnonzero((share > _OLD_UNTIL) & (share < _NEW_FROM))
    if not len(inside):
        return first + 1, last
    return first + int(inside[0]), first + int(inside[-1]) + 1
