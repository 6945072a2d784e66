"""The tables of a run as it stands, finished or not, for accounting, `table`, `funnel` and the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import align, units
from hpc_curate.accounting import DONE, FAILED, PENDING, UNIT_STATES, Books
from hpc_curate.io import tables
from hpc_curate.ledger import Ledger
from hpc_curate.plan import Plan
from hpc_curate.state import State

_OPEN_VIDEOS = ("scan", "shots")  # until these are done, nothing is known of a unit's clips


def read(plan: Plan) -> Books:
    """What is done so far; what is not is pending in the books."""
    state = State(plan, Ledger(plan.paths))
    samples = _table(state, "pack", "tars") if "pack" in plan.steps else None
    frozen = units.all_videos(plan.paths)
    return Books(
        units=frozen.filter(pc.less(frozen["unit"], plan.units)),
        unit_states=_unit_states(state),
        videos=_table(state, "scan", "videos"),
        shot_counts=_table(state, "shots", "shot_counts"),
        clips=_clips(state),
        samples=samples.select(["clip_id", "tar", "offset"]) if samples is not None else None,
    )


def _table(state: State, stage: str, name: str) -> pa.Table:
    """A table over all units of a stage that are done."""
    paths = [path for record in _done(state, stage) for path in state.ledger.outputs(record, name)]
    return tables.read_table(paths, None, state.plan.steps[stage].stage.writes()[name])


def _done(state: State, stage: str) -> list:  # type: ignore[type-arg]
    every = (state.done(stage, unit) for unit in range(state.plan.steps[stage].units))
    return [record for record in every if record is not None]


def _unit_states(state: State) -> pa.Table:
    rows = []
    for unit in range(state.plan.units):
        failures = [attempt for name in _OPEN_VIDEOS if (attempt := state.failed(name, unit))]
        done = all(state.done(name, unit) for name in _OPEN_VIDEOS)
        error = _last_line(failures[0].message) if failures else None
        rows.append({"unit": unit, "state": DONE if done else FAILED if failures else PENDING, "error": error})
    return pa.Table.from_pylist(rows, schema=UNIT_STATES)


def _clips(state: State) -> pa.Table:
    """Every clip of shots with the columns of all stages behind it; null where a stage was not asked or is not done."""
    rows, of = [], []
    for record in _done(state, "shots"):
        part = tables.read_table(state.ledger.outputs(record, "rows"))
        rows.append(part)
        of.append(np.full(part.num_rows, record.unit, np.int32))
    schema = state.plan.steps["shots"].stage.writes()["rows"]
    clips = pa.concat_tables(rows) if rows else schema.empty_table()
    error, unit = pa.nulls(clips.num_rows, pa.string()), np.concatenate([np.zeros(0, np.int32), *of])
    for name, step in state.plan.steps.items():
        if name == "shots" or "rows" not in step.stage.writes():
            continue
        table = _table(state, name, "rows")
        at = align.rows_of(clips["clip_id"], table)
        for column in _worth_showing(table, clips.column_names):
            clips = clips.append_column(column, table[column].take(at))
        # select repeats the errors of the scorers.
        own = table["error"].take(at) if "error" in table.column_names and name != "select" else None
        error = align.first_error(error, name, own, unit, state.failed_units(name))
    if "unit" not in clips.column_names:
        clips = clips.append_column("unit", pa.array(unit))
    return clips.append_column("error", error)


def _worth_showing(table: pa.Table, taken: Sequence[str]) -> list[str]:
    """All but what is there already, and the embeddings, which would be most of the file."""
    wide = {field.name for field in table.schema if pa.types.is_fixed_size_list(field.type)}
    return [name for name in table.column_names if name not in {*taken, *wide, "error"}]


def _last_line(message: str) -> str:
    return (message.strip().splitlines() or ["unknown"])[-1]
