"""The plans of one run folder: what tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
    """A plan of a run folder."""

    plan: str
    created: float  # epoch seconds
    state: str  # running, done, failed, blocked; "?": made by another version
    differs: tuple[str, ...]  # from the one shown, and that one from the others: overrides or settings, as this one's


def siblings(plan: Plan, state_of: Callable[[Plan], str]) -> list[Sibling]:
    """All plans of the folder, the oldest first; nothing if there is one only."""
    files = sorted(plan.paths.plans.glob("*.yaml"), key=lambda file: file.stat().st_mtime)[-_MOST:]
    if len(files) < 2:
        return []
    read = {file: _read(file) for file in files}
    others = [one for one in read.values() if isinstance(one, Plan) and one.hash != plan.hash]
    found = []
    for file, one in read.items():
        created = file.stat().st_mtime
        if isinstance(one, ConfigError):
            found.append(Sibling(file.stem, created, "?", (str(one),)))
            continue
        against = others if one.hash == plan.hash else [plan]
        differs = dict.fromkeys(word for other in against for word in _differs(one, other))
        found.append(Sibling(one.hash, created, state_of(one), tuple(differs)))
    return found


def _read(file: Path) -> Plan | ConfigError:
    try:
        return plans.load(file)
    except ConfigError as error:
        return error


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
