"""Videos and clips whose row says why nothing came of them: units that are done have these, so no unit failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hpc_curate.plan import Plan
from hpc_curate.plural import counted
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.stage import PerUnit, Stage

_OF = {"rows": "clip", "videos": "video"}  # whose rows a table holds
_OPTIONS = {"clip": "-o clips.csv", "video": "--videos -o videos.csv"}  # of `hpc-curate table`


def table_of(stage: Stage) -> str:
    """The table of a stage that has errors: `rows`, `videos`, or none."""
    written = stage.writes() if isinstance(stage, PerUnit) else {}
    return next((table for table in _OF if table in written and "error" in written[table].names), "")


def what(table: str) -> str:
    """Whose rows it holds."""
    return _OF[table]


def counts(plan: Plan, stages: Iterable[str]) -> Counter[str]:
    """Rows with an error in what is done, as video or clip."""
    state, found = State(plan, Ledger(plan.paths), verify=False), Counter[str]()
    for name in stages:
        table = table_of(plan.steps[name].stage)
        if table:
            found[what(table)] += sum(record.errors for record in state.finished(name))
    return +found


def listing(plan: Plan, found: Mapping[str, int], error: str = "an error") -> list[str]:
    """How many, and the command that lists them."""
    return [
        f"{counted(number, one)} with {error}: hpc-curate table {plan.paths.root} {_OPTIONS[one]} says which"
        for one, number in found.items()
    ]
