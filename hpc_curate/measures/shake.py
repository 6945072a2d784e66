"""Shake: how far the camera trembles around its own smooth path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.records import Span

_TILES = 4  # rows and columns of tiles that are tracked by themselves
_MIN_TILES = 4  # that must hold something to track
_STRUCTURE = 4.0  # squared levels per cell and direction, from which a tile holds something to track
_AT_ONCE = 64  # frames
_MIN_KNOWN = 0.5  # share of a clip's frames


@dataclass(frozen=True)
class Shake(Measure):
    """Mean distance of the camera's path from the same path smoothed over `smooth_s`.

    The step between two frames is the median over tiles of the small luma frame, each tracked by itself (Lucas and
    Kanade 1981, coarse to fine), so that a subject which fills less than half of what can be tracked does not count.
    The steps add up to a path; what is left of it after a moving average is tremor and jolts. With the default of half
    a second, 4 cycles a second pass whole, 1 by a third and 0.5 by a tenth: pans, sways and a slow dolly are no shake.
    Turning around the lens is not seen, nor is the shake of a picture without detail (fog, a plain wall).

    Column: `shake`, in long sides of the picture (5 digits): 0.001 is 1.3 pixels of 1280 or 1.9 of 1920. Null for a
    clip shorter than three smoothing windows, with fewer than 8 frames per window, or with half of its steps unknown.
    """

    name: ClassVar[str] = "shake"
    columns: ClassVar[pa.Schema] = pa.schema([("shake", pa.float64())])
    smooth_s: float = 0.5

    def start(self, facts: Facts) -> Feeder:
        return Collector("step", _Steps(facts))

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        # The step to a clip's first frame began before the clip.
        steps = series.within(span).values["step"].reshape(-1, 2)[1:].astype(np.float64)
        duration_s = float((span.end_pts - span.start_pts) * facts.time_base)
        window = round(len(steps) * self.smooth_s / duration_s)
        known = ~np.isnan(steps[:, 0])
        if window < 8 or duration_s < 3 * self.smooth_s or known.mean() < _MIN_KNOWN:
            return {"shake": None}
        path = np.cumsum(np.where(known[:, None], steps, 0.0), axis=0)
        tremor = path - _smoothed(path, window)
        return {"shake": round(float(np.hypot(*tremor.T).mean()), 5)}


class _Steps:
    """Of the camera from the frame before, right and down, in long sides: [N, 2], NaN where nothing can be tracked."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.last: np.ndarray | None = None  # float32 [1, h, w]

    def __call__(self, frames: Frames) -> np.ndarray:
        luma = frames.luma().astype(np.float32)
        before = np.concatenate([luma[:1] if self.last is None else self.last, luma[:-1]])
        self.last = luma[-1:].copy()
        height, width = luma.shape[1:]
        cell = np.array([self.facts.width / width, self.facts.height / height])
        # A few at a time, because what fits into the cache takes half as long.
        starts = range(0, len(luma), _AT_ONCE)
        steps = [track(before[start : start + _AT_ONCE], luma[start : start + _AT_ONCE]) for start in starts]
        return np.concatenate(steps) * cell / max(self.facts.width, self.facts.height)


def track(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far each picture has moved to become the other: float64 [N, 2], cells right and down.

    Args:
        before: float32 [N, h, w], levels.
        after: float32 [N, h, w].
    """
    steps = 2 * np.nan_to_num(_Tiles(_halved(after)).steps(_halved(before)))
    tiles = _Tiles(after)
    # Twice, because the first look at full size still sees what the coarse one left.
    for _ in range(2):
        steps = steps + tiles.steps(_moved(before, np.nan_to_num(steps)))
    return steps


class _Tiles:
    """Pictures in tiles, each of which is found again in another picture by least squares."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.inner = pictures[:, 1:-1, 1:-1]
        self.dx = (pictures[:, 1:-1, 2:] - pictures[:, 1:-1, :-2]) / 2
        self.dy = (pictures[:, 2:, 1:-1] - pictures[:, :-2, 1:-1]) / 2
        self.xx, self.xy, self.yy = map(_tile_sums, (self.dx * self.dx, self.dx * self.dy, self.dy * self.dy))
        determinant, trace = self.xx * self.yy - self.xy**2, self.xx + self.yy
        weaker = trace / 2 - np.sqrt(np.maximum(trace**2 / 4 - determinant, 0))
        self.tracked = weaker > _STRUCTURE * self.inner[0].size / _TILES**2  # bool [N, tiles]
        self.determinant = np.where(self.tracked, determinant, 1)

    def steps(self, before: np.ndarray) -> np.ndarray:
        """The median over the tiles that have detail in two directions: float64 [N, 2]; NaN where they are few."""
        change = self.inner - before[:, 1:-1, 1:-1]
        xt, yt = _tile_sums(self.dx * change), _tile_sums(self.dy * change)
        right, down = self.xy * yt - self.yy * xt, self.xy * xt - self.xx * yt
        tiles = np.stack([right, down], axis=-1) / self.determinant[..., None]  # [N, tiles, 2]
        # The median by hand: numpy's takes a Python call for each row.
        tiles = np.sort(np.where(self.tracked[..., None], tiles, np.inf), axis=1)
        count, rows = self.tracked.sum(axis=1), np.arange(len(tiles))
        median = (tiles[rows, (count - 1) // 2] + tiles[rows, count // 2]) / 2
        return np.where((count >= _MIN_TILES)[:, None], median, np.nan)


def _tile_sums(values: np.ndarray) -> np.ndarray:
    """float64 [N, tiles] of float32 [N, h, w]."""
    rows, columns = (_membership(side) for side in values.shape[1:])
    return (rows.T @ (values @ columns)).reshape(len(values), -1).astype(np.float64)


def _membership(side: int) -> np.ndarray:
    """Which tile a row or column lies in: float32 [side, tiles]."""
    return np.eye(_TILES, dtype=np.float32)[np.arange(side) * _TILES // side]


def _halved(pictures: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in pictures.shape[1:])
    even = pictures[:, :height, :width]
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def _moved(pictures: np.ndarray, steps: np.ndarray) -> np.ndarray:
    import cv2

    size = pictures.shape[:0:-1]
    return np.stack(
        [
            cv2.warpAffine(picture, np.array([[1, 0, x], [0, 1, y]]), size, borderMode=cv2.BORDER_REPLICATE)
            for picture, (x, y) in zip(pictures, steps, strict=True)
        ]
    )


def _smoothed(path: np.ndarray, window: int) -> np.ndarray:
    """A moving average over an odd number of frames; at its ends the path goes on as it came: float64 [N, 2]."""
    half = window // 2
    longer = np.pad(path, ((half, half), (0, 0)), mode="reflect", reflect_type="odd")
    sums = np.cumsum(np.pad(longer, ((1, 0), (0, 0))), axis=0)
    return (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
