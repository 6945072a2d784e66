"""Exposure: how bright the picture is, and how much of it is crushed to black or burnt to white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.records import Span


@dataclass(frozen=True)
class Exposure(Measure):
    """Means over all frames of a clip of three numbers of its small luma frames.

    A cell of a small frame is the average of a patch of the picture, so the shares count patches that are dark or
    bright as a whole; single specular pixels do not count, black borders do. The default limits are those of
    UltraVideo (grey below 5 or above 250), which drops pictures with more than 12 % of such pixels.

    Columns: `luma_mean` (0 to 255, 2 digits), `luma_dark_share` and `luma_bright_share` (0 to 1, 4 digits).
    """

    name: ClassVar[str] = "exposure"
    series_settings: ClassVar[tuple[str, ...]] = ("dark_below", "bright_above")
    columns: ClassVar[pa.Schema] = pa.schema(
        [("luma_mean", pa.float64()), ("luma_dark_share", pa.float64()), ("luma_bright_share", pa.float64())]
    )
    dark_below: int = 5
    bright_above: int = 250

    def start(self, facts: Facts) -> Feeder:
        return Collector("exposure", self._of)

    def _of(self, frames: Frames) -> np.ndarray:
        cells = frames.luma().reshape(len(frames.pts), -1)
        dark = np.count_nonzero(cells < self.dark_below, axis=1) / cells.shape[1]
        bright = np.count_nonzero(cells > self.bright_above, axis=1) / cells.shape[1]
        return np.stack([cells.mean(axis=1), dark, bright], axis=1)  # float [N, 3]

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        values = series.within(span).values["exposure"]
        if not len(values):
            return dict.fromkeys(self.columns.names)
        mean, dark, bright = values.astype(np.float64).mean(axis=0).tolist()
        return {
            "luma_mean": round(mean, 2),
            "luma_dark_share": round(dark, 4),
            "luma_bright_share": round(bright, 4),
        }
