"""What a stage may read, by name and never by path: the unit's videos, the tables of the stages before it, frames."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from hpc_curate.errors import BadInput
from hpc_curate.records import Video
from hpc_curate.stage import Clip, Resources


class Inputs(Protocol):
    """What `process` and `run` are given. Tests of a stage pass a small class of their own, or `TableInputs`."""

    unit: int
    resources: Resources

    def videos(self) -> list[Video]:
        """The videos of this unit as they were frozen; for a merge, of all units."""
        ...

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A named table (`videos`, `series`, ...) of this unit; for a merge, of all units."""
        ...

    def clips(self, columns: Sequence[str], ids: Sequence[str] | None = None) -> pa.Table:
        """`clip_id` and columns of any stages before, joined by clip_id, in the order of `ids` (default: all asked).

        A clip that a scorer could not score has null there.
        """
        ...

    def frames(self, ids: Sequence[str], count: int, columns: Sequence[str] = ()) -> Iterator[tuple[str, Clip | BadInput]]:
        """For each clip `count` frames of the frame pack, evenly spread, decoded to RGB; fewer if it has fewer."""
        ...

    def scratch(self) -> Path:
        """A private folder for temporary files, on the node; removed afterwards."""
        ...
