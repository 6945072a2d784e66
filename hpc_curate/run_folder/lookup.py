"""Columns of a few clips of a run, read from their own units only."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from hpc_curate import units
from hpc_curate.clips import align
from hpc_curate.plan import Plan
from hpc_curate.records import video_of
from hpc_curate.run_folder.gather import Gather
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State


def columns_of(plan: Plan, ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """`clip_id` and columns that stages before the first merge write, in the order of `ids`.

    Null where a stage has not come to a clip yet, was not asked for it, or there is no such clip.
    """
    state = State(plan, Ledger(plan.paths), one_by_one=True)
    numbers = sorted(set(units.unit_of(plan.paths, {video_of(clip) for clip in ids}).values()))
    gather = Gather(state, lambda stage: [one for unit in numbers if (one := state.done(stage, unit))])
    wanted, found = pa.array(ids, pa.string()), {}
    for writer in dict.fromkeys(plan.writers[column] for column in columns):
        mine = [column for column in columns if plan.writers[column] == writer]
        rows = align.beside(wanted, gather.table(writer, "rows", ["clip_id", *mine]))
        found.update({column: rows[column] for column in mine})
    return pa.table({"clip_id": wanted, **{column: found[column] for column in columns}})
