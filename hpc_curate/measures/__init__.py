"""Measures: per-frame statistics, made inside scan's one decode, and the clip columns that follow from them.

One file holds one measure: a frozen dataclass derived from `Measure`. `start` gives a feeder that sees every frame
of its grid once, in order; `aggregate` turns the stored series into the columns of one clip, without any decode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa

from hpc_curate.records import Span


@dataclass(frozen=True)
class Frames:
    """A run of decoded frames of one grid, in display orientation."""

    pixels: np.ndarray  # small: uint8 [N, h, w, 3] RGB; native: uint8 [N, H, W] luma, full range
    pts: np.ndarray  # int64 [N], stream ticks
    times_s: np.ndarray  # float64 [N], seconds after the first frame

    def luma(self) -> np.ndarray:
        """uint8 [N, h, w], full range: BT.601 weights of the small frames, the pixels themselves of native ones."""
        if self.pixels.ndim == 3:
            return self.pixels
        import cv2

        count, height, width, _ = self.pixels.shape
        # One tall picture: one call for the whole run.
        tall = cv2.cvtColor(self.pixels.reshape(count * height, width, 3), cv2.COLOR_RGB2GRAY)
        return tall.reshape(count, height, width)


@dataclass(frozen=True)
class Facts:
    """What the probe says of a video before it is decoded; sizes in display orientation."""

    width: int
    height: int
    fps: Fraction
    time_base: Fraction


@dataclass(frozen=True)
class Series:
    """The stored statistics of one video on one grid."""

    pts: np.ndarray  # int64 [N]
    times_s: np.ndarray  # float64 [N]
    values: dict[str, np.ndarray]  # float32 [N] or [N, dim]

    def within(self, span: Span) -> Series:
        """The frames whose pts lie in the span."""
        first, last = np.searchsorted(self.pts, [span.start_pts, span.end_pts])
        part = slice(int(first), int(last))
        return Series(self.pts[part], self.times_s[part], {k: v[part] for k, v in self.values.items()})


class Feeder(Protocol):
    """Takes the frames of one video; keeps what it needs of the previous ones."""

    def feed(self, frames: Frames) -> None: ...

    def finish(self) -> dict[str, np.ndarray]:
        """float32 [N] or [N, dim] by name, one entry per frame fed."""
        ...


class Collector:
    """The feeder of a measure that is a function of the frames: keeps what the function returns, run by run."""

    def __init__(self, name: str, compute: Callable[[Frames], np.ndarray]) -> None:
        """`compute` returns [N] or [N, dim] for N frames; a measure that looks back keeps its state in there."""
        self.name, self.compute = name, compute
        self.runs: list[np.ndarray] = []

    def feed(self, frames: Frames) -> None:
        if len(frames.pts):
            self.runs.append(np.asarray(self.compute(frames), np.float32))

    def finish(self) -> dict[str, np.ndarray]:
        return {self.name: np.concatenate(self.runs) if self.runs else np.zeros(0, np.float32)}


@dataclass(frozen=True)
class Measure:
    """A per-frame statistic and the clip columns made of it."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    grid: ClassVar[str] = "small"  # small: every frame, tens of pixels; native: sampled, full size
    series_settings: ClassVar[tuple[str, ...]] = ()  # the fields that change the series; others change columns only
    columns: ClassVar[pa.Schema] = pa.schema([])

    def weights(self) -> Sequence[Path]:
        """Files whose content changes the series; their checksums belong in the signature of the piece."""
        return ()

    def start(self, facts: Facts) -> Feeder:
        raise NotImplementedError

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        """The columns of one clip. `series` is the whole video's; a value that cannot be known is None."""
        raise NotImplementedError
