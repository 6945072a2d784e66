"""BRISQUE: technical quality without a reference, of pictures at their full size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.models import brisque
from hpc_curate.records import Span

_SMALLEST_PX = 32  # a side below it has too few pixels for statistics


@dataclass(frozen=True)
class Brisque(Measure):
    """BRISQUE (Mittal et al. 2012) of native luma without its black bars, median over the sampled frames of a clip.

    About 0 (like an undistorted photograph) to 100; blur, noise and coding artefacts raise it. It was trained on
    photographs: drawn and rendered pictures, credits and fog score high without being damaged, so compare within a
    source, or use percentiles. It sees no judder, no dropped frames and no other fault that shows in time only.

    Column: `brisque` (2 digits), null where no native frame in the clip shows anything.
    """

    name: ClassVar[str] = "brisque"
    grid: ClassVar[str] = "native"
    series_settings: ClassVar[tuple[str, ...]] = ("one_in", "black_level", "speck_share")
    columns: ClassVar[pa.Schema] = pa.schema([("brisque", pa.float64())])
    one_in: int = 2  # native frames, of which one is looked at: each costs as much as decoding twenty
    black_level: int = 10  # of full range: lines at the edge are bars if hardly a pixel is above it ...
    speck_share: float = 0.01  # ... at most this share

    def __post_init__(self) -> None:
        if self.one_in < 1:
            raise ValueError(f"one_in={self.one_in} must be 1 or more")

    def weights(self) -> Sequence[Path]:
        return brisque.weights()

    def start(self, facts: Facts) -> Feeder:
        score, number = brisque.load(), itertools.count()

        def scores(frames: Frames) -> list[float]:
            return [self._of(luma, score) if next(number) % self.one_in == 0 else np.nan for luma in frames.luma()]

        return Collector("brisque", lambda frames: np.array(scores(frames)))

    def _of(self, luma: np.ndarray, score: Callable[[np.ndarray], float]) -> float:
        picture = self._without_bars(luma)
        return score(picture) if min(picture.shape) >= _SMALLEST_PX else np.nan

    def _without_bars(self, luma: np.ndarray) -> np.ndarray:
        # Bars are flat, and flat surfaces look to BRISQUE like damage.
        lit = luma > self.black_level
        rows = np.flatnonzero(lit.mean(axis=1) > self.speck_share)
        columns = np.flatnonzero(lit.mean(axis=0) > self.speck_share)
        if not len(rows) or not len(columns):
            return luma[:0]
        return luma[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        scores = series.within(span).values["brisque"]
        scores = scores[~np.isnan(scores)].astype(np.float64)
        return {"brisque": round(float(np.median(scores)), 2) if len(scores) else None}
