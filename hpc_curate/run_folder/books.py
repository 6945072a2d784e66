"""The tables of a run as it stands, finished or not, for accounting, `table`, `funnel` and the report."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import units
from hpc_curate.errors import ConfigError
from hpc_curate.plan import Plan
from hpc_curate.run_folder.accounting import DONE, FAILED, PENDING, UNIT_STATES, Books
from hpc_curate.run_folder.gather import Gather
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

_OPEN_VIDEOS = ("scan", "shots")  # until these are done, nothing is known of a unit's clips


def read(plan: Plan, columns: Collection[str] | None = None) -> Books:
    """What is done so far; what is not is pending in the books.

    Args:
        columns: of videos, clips and samples (`tar`, `offset`), beside what identifies them; None: every one that is
            worth showing.

    Raises:
        ConfigError: the recipe makes no clips.
    """
    if not has_clips(plan):
        raise ConfigError(_no_clips(plan))
    state = State(plan, Ledger(plan.paths))
    gather = Gather(state, state.finished)
    frozen, places = units.all_videos(plan.paths), [n for n in ("tar", "offset") if columns is None or n in columns]
    return Books(
        units=frozen.filter(pc.less(frozen["unit"], plan.units)),
        unit_states=_unit_states(state),
        videos=gather.table("scan", "videos", _chosen(plan, "scan", "videos", columns)),
        shot_counts=gather.table("shots", "shot_counts"),
        clips=gather.every_clip(_columns(plan, columns)),
        samples=gather.table("pack", "tars", ["clip_id", *places]) if "pack" in plan.steps else None,
    )


def has_clips(plan: Plan) -> bool:
    """Whether there is anything to account for."""
    return all(name in plan.steps for name in _OPEN_VIDEOS)


def _no_clips(plan: Plan) -> str:
    if "fetch" in plan.steps:
        run = plan.paths.root
        return (
            f"{run} fetched videos, it has no clips: hpc-curate table {run} --videos -o videos.csv lists them, "
            f"hpc-curate status {run} says how far it is, preview and browse show them"
        )
    return f"recipe of plan {plan.hash} stops before there are clips: it needs stages scan and shots"


def _columns(plan: Plan, columns: Collection[str] | None) -> dict[str, list[str]]:
    """The columns of clips by stage; those that several stages write are the first one's."""
    order = ["shots", *(name for name in plan.steps if name != "shots")]
    found: dict[str, list[str]] = {}
    taken = {"clip_id", "unit", "error"}
    for name in order:
        if "rows" in plan.steps[name].stage.writes():
            found[name] = [column for column in _chosen(plan, name, "rows", columns) if column not in taken]
            taken |= {*found[name]}
    return found


def _chosen(plan: Plan, stage: str, table: str, columns: Collection[str] | None) -> list[str]:
    """Those that were asked for, but never the embeddings, which would be most of the file."""
    schema, always = plan.steps[stage].stage.writes()[table], {"clip_id", "video_id", "error"}
    wide = {field.name for field in schema if pa.types.is_fixed_size_list(field.type)}
    return [name for name in schema.names if name not in wide and (columns is None or name in {*columns, *always})]


def _unit_states(state: State) -> pa.Table:
    rows = []
    for unit in range(state.plan.units):
        failures = [attempt for name in _OPEN_VIDEOS if (attempt := state.failed(name, unit))]
        done = all(state.done(name, unit) for name in _OPEN_VIDEOS)
        error = _last_line(failures[0].message) if failures else None
        rows.append({"unit": unit, "state": DONE if done else FAILED if failures else PENDING, "error": error})
    return pa.Table.from_pylist(rows, schema=UNIT_STATES)


def _last_line(message: str) -> str:
    return (message.strip().splitlines() or ["unknown"])[-1]
