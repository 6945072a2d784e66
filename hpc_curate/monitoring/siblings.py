"""The plans of one run folder: what tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError
from hpc_curate.plan import Plan
from hpc_curate.plural import counted
from hpc_curate.report import asked

_MOST = 20  # the last ones
_DEPTH = 3  # of the names that stand for all below them ...
_APART = 2  # ... if more settings than this differ there


@dataclass(frozen=True)
class Sibling:
    """A plan of a run folder, beside the one that is shown."""

    plan: str
    created: float  # epoch seconds
    state: str  # running, done, failed, blocked; "?": made by another version
    differs: tuple[str, ...]  # overrides, or settings, as this plan has them


def siblings(plan: Plan, state_of: Callable[[Plan], str]) -> list[Sibling]:
    """All plans of the folder, the oldest first; nothing if there is one only."""
    files = sorted(plan.paths.plans.glob("*.yaml"), key=lambda file: file.stat().st_mtime)
    found = []
    for file in files[-_MOST:] if len(files) > 1 else []:
        created = file.stat().st_mtime
        try:
            other = plans.load(file)
        except ConfigError as error:
            found.append(Sibling(file.stem, created, "?", (str(error),)))
            continue
        found.append(Sibling(other.hash, created, state_of(other), tuple(_differs(other, plan))))
    return found


def _differs(other: Plan, plan: Plan) -> list[str]:
    own, _ = asked.apart([other, plan])
    return [*(own or _settings(other, plan)), *([counted(other.units, "unit")] if other.units != plan.units else [])]


def _settings(other: Plan, plan: Plan) -> list[str]:
    changed = {name: its or "null" for name, (its, _) in asked.differences([other, plan], but=("run_dir",))}
    groups = Counter(map(_group, changed))
    said = [f"{name}={its}" if groups[_group(name)] <= _APART else f"{_group(name)}.…" for name, its in changed.items()]
    return list(dict.fromkeys(said))


def _group(name: str) -> str:
    """Where a setting belongs: `stage.select.rules`."""
    return ".".join(name.split(".")[:_DEPTH])
