"""Cutters: from statistics to shot boundaries.

One file holds one cutter. What needs frames is a series, made inside scan as a measure's is; thresholds and length
rules are applied to the stored series in `shots`, so changing them decodes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hpc_curate.measures import Measure, Series


@dataclass(frozen=True)
class Cutter(Measure):
    """A shot detector. One without a series (`needs_frames = False`) looks at the times only."""

    needs_frames: ClassVar[bool] = True
    signature: ClassVar[str | None] = None  # the stored value by which two pictures can be compared

    def transitions(self, series: Series) -> list[tuple[int, int]]:
        """Transitions as (end, start): the old shot's frames stop before index `end`, the new one's begin at
        index `start`. A hard cut has `end == start`. Sorted, not overlapping."""
        raise NotImplementedError
