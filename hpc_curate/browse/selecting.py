"""What `select` would keep under other rules: by `select` itself where its inputs are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pyarrow as pa

from hpc_curate.clips import rules
from hpc_curate.errors import Blocked
from hpc_curate.inputs import Inputs
from hpc_curate.plan import Plan
from hpc_curate.run_folder.accounting import KEPT, REJECTED
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State
from hpc_curate.stages.select import Select

_NAME = "select"
Settings = Mapping[str, Any]  # rules by name, as they stand in YAML


@dataclass(frozen=True)
class Outcome:
    """How a selection ends."""

    kept: int
    reasons: Mapping[str, int]  # the first one of each clip that is not kept, the most frequent first
    states: Mapping[str, str]  # by clip: kept or rejected


class Selection:
    """Clips whose rules can be moved."""

    clips: pa.Table  # with every column that rules may name
    rules: Settings  # as they are
    exact = True  # near-duplicates and quotas are counted too, as `select` does

    def outcome(self, moved: Settings) -> Outcome:
        raise NotImplementedError


class OfRun(Selection):
    """The clips that `select` judges in a run, read once.

    Raises:
        Blocked: what select reads is not there yet.
    """

    def __init__(self, plan: Plan, clips: pa.Table) -> None:
        self.clips = clips
        self._select = cast(Select, plan.steps[_NAME].stage)
        self.rules = self._select.rules
        self._inputs = _Once(Reader(State(plan, Ledger(plan.paths)), _NAME, 0))
        self.outcome(self.rules)

    def outcome(self, moved: Settings) -> Outcome:
        selected = replace(self._select, rules=dict(moved)).run(None, cast(Inputs, self._inputs))["rows"]
        return _outcome(selected["clip_id"], selected["state"], selected["reason"])


class OfRows(Selection):
    """Any rows: rules alone decide."""

    exact = False

    def __init__(self, clips: pa.Table, given: Settings) -> None:
        self.clips = clips
        self.rules = {name: rule for name, rule in given.items() if rule and _there(name, rule, clips)}

    def outcome(self, moved: Settings) -> Outcome:
        parsed = rules.parse(moved, percentiles=True)
        needed = rules.columns(rule.column for rule in parsed.values())
        judged = rules.apply(parsed, pa.table({"clip_id": self.clips["id"], **{n: self.clips[n] for n in needed}}))
        states = pa.array([KEPT if keep else REJECTED for keep in judged["keep"].to_pylist()], pa.string())
        return _outcome(judged["clip_id"], pa.chunked_array([states]), judged["reason"])


def of(plan: Plan | None, clips: pa.Table) -> Selection:
    """What can be said of these rows: exactly what select would do, or what rules alone would."""
    if plan is None or _NAME not in plan.steps:
        return OfRows(clips, {})
    try:
        return OfRun(plan, clips)
    except Blocked:
        return OfRows(clips, cast(Select, plan.steps[_NAME].stage).rules)


def overrides(before: Settings, after: Settings) -> list[str]:
    """What to say to `hpc-curate run` so that select takes the moved rules."""
    said = []
    for name, rule in after.items():
        known = before.get(name) or {}
        for key, value in rule.items():
            if known.get(key) != value:
                sign = "" if key in known else "+"
                said.append(f"{sign}stage.select.rules.{name}.{key}={value}")
    return said


class _Once:
    """The tables that select reads, each read once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._found: dict[Any, pa.Table] = {}

    def all_clips(self, columns: Sequence[str]) -> pa.Table:
        key = tuple(columns)
        if key not in self._found:
            self._found[key] = self._reader.all_clips(columns)
        return self._found[key]

    def table(self, name: str) -> pa.Table:
        if name not in self._found:
            self._found[name] = self._reader.table(name)
        return self._found[name]


def _there(name: str, rule: Mapping[str, Any], clips: pa.Table) -> bool:
    return set(rules.columns([rule.get("column", name)])) <= set(clips.column_names)


def _outcome(ids: pa.ChunkedArray, states: pa.ChunkedArray, reasons: pa.ChunkedArray) -> Outcome:
    said = dict(zip(ids.to_pylist(), states.to_pylist(), strict=True))
    counted = sorted(reasons.drop_null().value_counts().to_pylist(), key=lambda one: -one["counts"])
    kept = sum(state == KEPT for state in said.values())
    return Outcome(kept, {one["values"]: one["counts"] for one in counted}, said)
