"""What each rule costs, and what another threshold would: counted from verdicts as they were stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import rules
from hpc_curate.clips.rules import Rule

# What one reason does to the clips that its filter judged.
EFFECTS = pa.schema(
    [
        ("filter", pa.string()),  # gate or select
        ("reason", pa.string()),
        ("judged", pa.int64()),  # clips that the filter looked at
        ("clips", pa.int64()),  # that it rejects, whatever else rejects them
        ("first", pa.int64()),  # whose first reason it is: what the funnel counts
        ("alone", pa.int64()),  # whose only reason it is: they come back without it
    ]
)

_NUMBER = re.compile(r" (-?[\d.]+(?:e[+-]?\d+)?(?: %)?)$")
_SAMPLE = 100_000  # clips that correlations are taken over; their error is then below 0.01
_FEW = 3  # clips that have both columns, below which nothing can be said


@dataclass(frozen=True)
class Verdicts:
    """What a filter said of the clips that it judged."""

    filter: str
    rules: Mapping[str, Rule]
    clips: pa.Table  # their columns
    first: pa.ChunkedArray  # string, null: no rule rejects it
    all: pa.ChunkedArray  # lists of strings

    @property
    def named(self) -> list[str]:
        """Every reason that the rules know, in their order."""
        return [reason for name, rule in self.rules.items() for reason in rules.reasons(name, rule).values()]

    @cached_property
    def hits(self) -> np.ndarray:
        """int64 [N]: how many reasons of rules each clip has. That it is a duplicate is none of them."""
        lists = self.all.combine_chunks()
        ours = pc.is_in(pc.list_flatten(lists), value_set=pa.array(self.named, pa.string())).to_numpy(False)
        return np.bincount(pc.list_parent_indices(lists).to_numpy(), weights=ours, minlength=len(lists)).astype(
            np.int64
        )


@dataclass(frozen=True)
class Effect:
    """What one reason of one selection does; see `EFFECTS`."""

    threshold: str  # as the reason says it; empty: it has none
    clips: int
    first: int
    alone: int


@dataclass(frozen=True)
class Bound:
    """A threshold: clips whose value is beyond it are rejected."""

    column: str
    lower: bool  # what is below it is rejected; False: what is above it
    value: float
    reason: str

    def rejects(self, values: np.ndarray) -> np.ndarray:
        """bool [N]; no value is not beyond it."""
        return values < self.value if self.lower else values > self.value


def verdicts(clips: pa.Table, gate: Mapping[str, Rule], select: Mapping[str, Rule]) -> list[Verdicts]:
    """Those of gate and select, as far as they are there.

    Args:
        clips: every clip, with the columns that gate and select write.
    """
    found, names = [], clips.column_names
    if "gate_reasons" in names:
        seen = clips.filter(pc.is_valid(clips["gate_keep"]))
        found.append(Verdicts("gate", gate, seen, seen["gate_reason"], seen["gate_reasons"]))
    if "reasons" in names:
        seen = clips.filter(pc.is_in(clips["state"], pa.array(["kept", "rejected"])))
        if "gate_keep" in names:
            seen = seen.filter(pc.fill_null(seen["gate_keep"], True))
        found.append(Verdicts("select", select, seen, seen["reason"], seen["reasons"]))
    return found


def effects(seen: Verdicts) -> pa.Table:
    """Rows of `EFFECTS` for every reason that the rules know, in their order, also for those that nobody met."""
    named = seen.named
    lengths = pc.list_value_length(seen.all)
    lists = {"clips": seen.all, "alone": seen.all.filter(pc.equal(lengths, 1))}
    counts = {key: _counts(pc.list_flatten(value), named) for key, value in lists.items()}
    counts["first"] = _counts(seen.first, named)
    size = {"filter": pa.array([seen.filter] * len(named), pa.string()), "reason": pa.array(named, pa.string())}
    return (
        pa.table({**size, "judged": np.full(len(named), len(seen.first)), **counts}).select(EFFECTS.names).cast(EFFECTS)
    )


def side_by_side(found: Sequence[pa.Table]) -> dict[tuple[str, str], list[Effect | None]]:
    """By filter and kind of reason, as `motion below`, what each of several selections loses by it.

    Args:
        found: rows of `EFFECTS` of each selection.
    """
    rows: dict[tuple[str, str], list[Effect | None]] = {}
    for at, table in enumerate(found):
        for row in table.to_pylist():
            kind, number = _apart(row["reason"])
            effects = rows.setdefault((row["filter"], kind), [None] * len(found))
            effects[at] = Effect(number, row["clips"], row["first"], row["alone"])
    return dict(sorted(rows.items(), key=lambda item: item[0][0]))  # gate before select, else as they came


def met(effects: Sequence[Effect | None]) -> bool:
    """Whether any of the selections loses a clip by it."""
    return any(effect and effect.clips for effect in effects)


def _apart(reason: str) -> tuple[str, str]:
    """A reason without its threshold, and this."""
    match = _NUMBER.search(reason)
    return (reason[: match.start()], match[1]) if match else (reason, "")


def bounds(seen: Verdicts) -> list[Bound]:
    """The thresholds of the rules, percentiles as what they came to."""
    relative = rules.limits(seen.rules, seen.clips)
    found = []
    for name, rule in seen.rules.items():
        low, high = relative.get(name, (None, None))
        said = rules.reasons(name, rule)
        given = {"min": rule.min, "max": rule.max, "min_percentile": low, "max_percentile": high}
        for setting, value in given.items():
            if value is not None:
                found.append(Bound(rule.column, setting.startswith("min"), float(value), said[setting]))
    return found


def survivors(bound: Bound, values: np.ndarray, hits: np.ndarray, at: np.ndarray) -> np.ndarray:
    """How many clips no rule would reject if the bound lay elsewhere and all others stayed.

    Args:
        values: float64 [N], NaN where there is none.
        hits: int64 [N], how many reasons each clip has now.
        at: float64 [K], where the bound might lie.

    Returns:
        int64 [K], before near-duplicates are looked for.
    """
    free = hits == bound.rejects(values)
    known = np.sort(values[free & ~np.isnan(values)])
    without = int(np.count_nonzero(free)) - len(known)
    if bound.lower:
        return without + len(known) - np.searchsorted(known, at, side="left")
    return without + np.searchsorted(known, at, side="right")


def nearest(
    bound: Bound, values: np.ndarray, hits: np.ndarray, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The clips that the bound rejects and those that it lets pass which lie nearest to it, by rising value.

    Clips that only this bound decides go before those that are rejected anyway. Of clips that lie equally near, as
    those of the same frame rate do, some are taken by chance.

    Returns:
        int64 [up to count] twice, rows.
    """
    beyond, random = bound.rejects(values), np.random.default_rng(seed)
    found = []
    for side in (beyond, ~beyond & ~np.isnan(values)):
        free = hits == beyond
        chosen = _nearest(np.flatnonzero(side & free), values, bound.value, count, random)
        if len(chosen) < count:
            others = _nearest(np.flatnonzero(side & ~free), values, bound.value, count - len(chosen), random)
            chosen = np.concatenate([chosen, others])
        found.append(chosen[np.argsort(values[chosen], kind="stable")])
    return found[0], found[1]


def spearman(columns: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """Rank correlation of each two columns over the clips that have both, from a sample of at most 100,000.

    Ranks are those among all clips that have the column, the mean one for equal values.

    Args:
        columns: float64 [N] each, NaN where there is no value.

    Returns:
        float64 [C, C], NaN where a column has one value only, or too few clips have both.
    """
    rows = len(columns[0])
    some = np.sort(np.random.default_rng(seed).permutation(rows)[:_SAMPLE]) if rows > _SAMPLE else slice(None)
    ranks = np.stack([_ranks(column[some]) for column in columns], axis=1)  # float64 [n, C]
    there = (~np.isnan(ranks)).astype(np.float64)
    known = np.where(np.isnan(ranks), 0.0, ranks)
    both = there.T @ there
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (known.T @ there) / both  # [i, j]: of column i, over the clips that have j
        variance = (known**2).T @ there / both - mean**2
        found = ((known.T @ known) / both - mean * mean.T) / np.sqrt(variance * variance.T)
    found[(both < _FEW) | (variance < 1e-12) | (variance.T < 1e-12)] = np.nan
    return np.clip(found, -1.0, 1.0)


def _counts(reasons: pa.ChunkedArray, named: Sequence[str]) -> pa.Array:
    """How often each is there, int64."""
    seen = reasons.value_counts()
    at = pc.index_in(pa.array(named, pa.string()), value_set=seen.field("values"))
    return pc.fill_null(seen.field("counts").take(at), 0)


def _nearest(
    rows: np.ndarray, values: np.ndarray, middle: float, count: int, random: np.random.Generator
) -> np.ndarray:
    if len(rows) <= count:
        return rows
    distance = np.abs(values[rows] - middle)
    limit = np.partition(distance, count - 1)[count - 1]
    sure, equal = rows[distance < limit], rows[distance == limit]
    return np.concatenate([sure, random.permutation(equal)[: count - len(sure)]])


def _ranks(column: np.ndarray) -> np.ndarray:
    """float64 [n] from 0 to 1, NaN where there is no value."""
    ranks = np.full(len(column), np.nan)
    there = ~np.isnan(column)
    _, which, counts = np.unique(column[there], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks[there] = middle[which] / max(len(which), 1)
    return ranks
