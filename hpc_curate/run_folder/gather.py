"""Tables of very many units, read together: for merges, for a task's own inputs, and for the books of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import align
from hpc_curate.io import tables
from hpc_curate.run_folder.ledger import Record
from hpc_curate.run_folder.state import State
from hpc_curate.stage import Filter

_FILTERED_ROWS = 1 << 18  # read before those not wanted are dropped: it bounds the memory that embeddings take


@dataclass(frozen=True)
class Gather:
    """What some units have of each stage."""

    state: State
    records: Callable[[str], Sequence[Record]]  # of a stage, of those units that are done

    def table(self, stage: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table of a stage, unit by unit."""
        return tables.read_table(self._paths(stage, name), columns, self._schema(stage, name))

    def rows_among(self, stage: str, columns: Sequence[str], ids: pa.Array) -> pa.Table:
        """The rows of a stage that are about some clips, and maybe others: they are dropped where they are most."""
        if 2 * len(ids) > len(self._unit_of_rows(stage)):
            return self.table(stage, "rows", columns)
        found, read = [self._schema(stage, "rows").empty_table().select(columns)], []
        for part in tables.read_parts(self._paths(stage, "rows"), columns):
            read.append(part)
            if sum(map(len, read)) >= _FILTERED_ROWS:
                found.append(_among(read, ids))
                read = []
        return pa.concat_tables([*found, *([_among(read, ids)] if read else [])])

    def every_clip(self, columns: Mapping[str, Sequence[str]]) -> pa.Table:
        """Every clip that was made, with columns of other stages; null where one was not asked or is not done.

        Args:
            columns: by stage, in order; the first stage is the one that makes the clips.

        Returns:
            clip_id, the columns, `unit`, and `error`: the first that one of these stages has for the clip. A filter
            has none of its own: it repeats what others said.
        """
        first, *others = columns
        clips = self.table(first, "rows", ["clip_id", *columns[first]])
        ids, unit = clips["clip_id"].combine_chunks(), self._unit_of_rows(first)
        error = pa.nulls(len(ids), pa.string())
        for name in others:
            filters = isinstance(self.state.plan.steps[name].stage, Filter)
            tells = ["error"] if "error" in self._schema(name, "rows").names and not filters else []
            own = None
            if columns[name] or tells:
                rows = align.beside(ids, self.table(name, "rows", ["clip_id", *columns[name], *tells]))
                own = rows["error"] if tells else None
                for column in columns[name]:
                    clips = clips.append_column(column, rows[column])
            error = align.first_error(error, name, own, unit, self.state.failed_units(name))
        return clips.append_column("unit", pa.array(unit)).append_column("error", error)

    def _schema(self, stage: str, name: str) -> pa.Schema:
        return self.state.plan.steps[stage].stage.writes()[name]

    def _paths(self, stage: str, name: str) -> list[Path]:
        return [path for record in self.records(stage) for path in self.state.ledger.outputs(record, name)]

    def _unit_of_rows(self, stage: str) -> np.ndarray:
        """int32: the unit of each row, as the records count them."""
        records = self.records(stage)
        counts = [sum(output.rows for output in record.outputs if output.table == "rows") for record in records]
        return np.repeat(np.array([record.unit for record in records], np.int32), counts)


def _among(parts: Sequence[pa.Table], ids: pa.Array) -> pa.Table:
    part = pa.concat_tables(parts)
    return part.filter(pc.is_in(part["clip_id"], value_set=ids))
