"""Which merge a task is behind, without a look at every unit.

A merge's signature holds the records of all units that it read. A task behind it needs the signature only, but to
know it, it would have to read all those records again: in a run of 100,000 units, every element all of them. So whoever
has looked at everything (the merge itself, or the first task that finds nothing to trust) leaves a note in the run
folder: the signature, and for each stage that it was made of the fingerprint of its records, taken before they were
read.

A note is trusted only while every one of these fingerprints holds. A new record, another revision, a part that another
plan has asked for, even a fold voids it, and the next task looks for itself and leaves a new one. New units, other
settings and another plan's question are another note. What a fingerprint cannot show is that a unit which had failed
is forgiven, or that an output has gone: then nobody knows the merge's signature until the unit is done again, which
makes a record. A task that trusts the note meanwhile computes what the old merge asks for, as it would have a minute
earlier. That is work that may not be wanted any more, and never a wrong row: rows lie under the signatures of what they
were made from, and a record is proof only of the set that was asked for. The launcher and `status` look at everything.
"""

from __future__ import annotations

import contextlib
from typing import Any

from hpc_curate.errors import EnvironmentFault
from hpc_curate.io import tables
from hpc_curate.plan import Plan
from hpc_curate.records import digest
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.stage import Merge


def signatures(plan: Plan, name: str) -> dict[str, str | None]:
    """The signatures of the merges that a stage is behind; None for one whose input is not complete."""
    merges = [before for before in plan.before(name) if isinstance(plan.steps[before].stage, Merge)]
    found: dict[str, str | None] = {merge: _trusted(plan, merge) for merge in merges}
    if None in found.values():
        state = State(plan, Ledger(plan.paths))
        for merge in merges:
            found[merge] = state.signature(merge)
            note(state, merge)
    return found


def note(state: State, merge: str) -> None:
    """Leave word of a signature that `state` has found by looking at everything, if it is known."""
    signature, plan = state.signature(merge), state.plan
    if signature is None:
        return
    seen = [[name, *state.seen[name]] for name in plan.before(merge) if name in state.seen]
    path, value = plan.paths.merged(merge, _question(plan, merge)), {"signature": signature, "seen": seen}
    if tables.read_json(path) != value:
        with contextlib.suppress(OSError, EnvironmentFault):  # nobody needs it
            tables.write_json(path, value)


def _trusted(plan: Plan, merge: str) -> str | None:
    """The signature in the note, if what it was made of is as it was."""
    noted: Any = tables.read_json(plan.paths.merged(merge, _question(plan, merge)))
    try:
        signature, seen = str(noted["signature"]), [(str(a), str(b), str(c)) for a, b, c in noted["seen"]]
    except (KeyError, TypeError, ValueError):
        return None
    ledger = Ledger(plan.paths)
    return signature if all(ledger.fingerprint(name, made) == before for name, made, before in seen) else None


def _question(plan: Plan, merge: str) -> str:
    """Names what is asked of the units, how many there are, and whether failed ones may be missing."""
    return digest(plan.work_signature(merge), plan.limits.allow_failed_units)
