"""Fixed stride: pieces of equal length, whatever is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_curate.cutters import Cutter
from hpc_curate.measures import Series


@dataclass(frozen=True)
class Stride(Cutter):
    """A boundary at the first frame of each `stride_s`; looks at times only. For footage without cuts."""

    name: ClassVar[str] = "stride"
    needs_frames: ClassVar[bool] = False
    stride_s: float = 10.0

    def transitions(self, series: Series) -> list[tuple[int, int]]:
        # Times are rounded to microseconds: a frame that is due is not late by a hair.
        pieces = np.floor(series.times_s / self.stride_s + 1e-6).astype(np.int64)
        return [(cut, cut) for cut in (np.flatnonzero(np.diff(pieces)) + 1).tolist()]
