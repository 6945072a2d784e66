"""Tables of very many units, read together: for merges, for a task's own inputs, and for the books of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import units
from hpc_curate.clips import align
from hpc_curate.io import tables
from hpc_curate.io.paths import RunPaths
from hpc_curate.records import video_of
from hpc_curate.run_folder.ledger import Record
from hpc_curate.run_folder.state import State
from hpc_curate.stage import Filter, Merge

_FILTERED_ROWS = 1 << 18  # read before those not wanted are dropped: it bounds the memory that embeddings take
_FEW = 1 << 17  # clips whose own units are looked up
_UNITS = 256  # laid beside each other at a time: every stage repeats the ids of its clips


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
        for part in tables.read_parts(self._paths_with(stage, ids), columns):
            read.append(part)
            if sum(map(len, read)) >= _FILTERED_ROWS:
                found.append(_among(read, ids))
                read = []
        return pa.concat_tables([*found, *([_among(read, ids)] if read else [])])

    def ids(self, stage: str, keep: str | None = None) -> pa.Table:
        """clip_id and unit of a stage's clips, unit by unit; of a filter, those that it keeps."""
        rows = self.table(stage, "rows", ["clip_id", *([keep] if keep else [])])
        rows = rows.append_column("unit", pa.array(self._unit_of_rows(stage)))
        return (rows.filter(rows[keep]) if keep else rows).select(["clip_id", "unit"])

    def every_clip(self, columns: Mapping[str, Sequence[str]]) -> pa.Table:
        """Every clip that was made, with columns of other stages; null where one was not asked or is not done.

        Args:
            columns: by stage, in order; the first stage is the one that makes the clips.

        Returns:
            clip_id, the columns, `unit`, and `error`: the first that one of these stages has for the clip. A filter
            has none of its own: it repeats what others said.
        """
        first, *others = columns
        found = _in_one_piece(self.table(first, "rows", ["clip_id", *columns[first]]))
        ids, unit = found["clip_id"], self._unit_of_rows(first)
        error = pa.nulls(len(ids), pa.string())
        for name in others:
            filters = isinstance(self.state.plan.steps[name].stage, Filter)
            tells = ["error"] if "error" in self._schema(name, "rows").names and not filters else []
            wanted = [*columns[name], *tells]
            rows = _in_one_piece(self.beside(ids, unit, name, wanted)) if wanted else {}
            own = rows.pop("error") if tells else None
            error = align.first_error(error, name, own, unit, self.state.failed_units(name))
            found |= rows
        return pa.table({**found, "unit": unit, "error": error})

    def beside(self, ids: pa.Array, unit: np.ndarray, stage: str, columns: Sequence[str]) -> pa.Table:
        """Columns of a stage for clips that lie one unit behind the other; null where it has no row.

        Args:
            unit: int [N], of each clip, ascending.
        """
        wanted, schema = ["clip_id", *columns], self._schema(stage, "rows")
        if isinstance(self.state.plan.steps[stage].stage, Merge):
            return align.beside(ids, self.table(stage, "rows", wanted)).select(columns)
        paths, of_path = self._paths_and_units(stage, "rows")
        parts = [pa.schema([schema.field(name) for name in columns]).empty_table()]
        for first in range(0, self.state.plan.units, _UNITS):
            start, end = np.searchsorted(unit, [first, first + _UNITS])
            mine = slice(*np.searchsorted(of_path, [first, first + _UNITS]))
            rows = tables.read_table(paths[mine], wanted, schema)
            parts.append(align.beside(ids[start:end], rows).select(columns))
        return pa.concat_tables(parts)

    def _schema(self, stage: str, name: str) -> pa.Schema:
        return self.state.plan.steps[stage].stage.writes()[name]

    def _paths(self, stage: str, name: str) -> list[Path]:
        return self._paths_and_units(stage, name)[0]

    def _paths_with(self, stage: str, ids: pa.Array) -> list[Path]:
        """The files of a stage's rows that some clips can be in: of few clips, those of their own units."""
        paths, of_path = self._paths_and_units(stage, "rows")
        if len(ids) > _FEW or isinstance(self.state.plan.steps[stage].stage, Merge):
            return paths
        mine = _units_with(self.state.plan.paths, tuple(ids.to_pylist()))
        return [path for path, unit in zip(paths, of_path, strict=True) if unit in mine]

    def _paths_and_units(self, stage: str, name: str) -> tuple[list[Path], list[int]]:
        """The files of a table, and the unit of each."""
        outputs = [(record.unit, self.state.ledger.outputs(record, name)) for record in self.records(stage)]
        found = [(path, unit) for unit, paths in outputs for path in paths]
        return [path for path, _ in found], [unit for _, unit in found]

    def _unit_of_rows(self, stage: str) -> np.ndarray:
        """int32: the unit of each row, as the records count them."""
        records = self.records(stage)
        counts = [sum(output.rows for output in record.outputs if output.table == "rows") for record in records]
        return np.repeat(np.array([record.unit for record in records], np.int32), counts)


@lru_cache(maxsize=2)  # asked for with every stage
def _units_with(paths: RunPaths, ids: tuple[str, ...]) -> frozenset[int]:
    return frozenset(units.unit_of(paths, {video_of(clip) for clip in ids}).values())


def _in_one_piece(table: pa.Table) -> dict[str, pa.Array]:
    """The columns, each joined and its parts let go before the next one: so they are never all there twice."""
    found = {}
    while table.num_columns:
        found[table.column_names[0]] = table[0].combine_chunks()
        table = table.remove_column(0)
    return found


def _among(parts: Sequence[pa.Table], ids: pa.Array) -> pa.Table:
    part = pa.concat_tables(parts)
    return part.filter(pc.is_in(part["clip_id"], value_set=ids))
