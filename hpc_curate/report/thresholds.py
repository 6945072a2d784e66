"""What the page of thresholds shows, gathered from the clips of one selection, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import rules, thresholds
from hpc_curate.clips.rules import Rule
from hpc_curate.clips.thresholds import Bound, Verdicts
from hpc_curate.records import CLIPS
from hpc_curate.report import charts
from hpc_curate.report.charts import Axis, Line, Mark, short
from hpc_curate.report.document import Sample
from hpc_curate.report.markup import Markup, table
from hpc_curate.run_folder import accounting
from hpc_curate.run_folder.accounting import KEPT, REJECTED, Books

_FILTERS = ("select", "gate")
_WORDS = 8  # values of a column of words, the most frequent ones
_SHEETS = 32  # thresholds with pictures: a page stays small however many rules there are
_COLUMNS = 40  # of the matrix
_SAME = 0.9  # rank correlation from which two columns say nearly the same
_PAIRS = 12
_OF_THESE = "of the clips that meet all fixed bounds"  # see clips/rules.py
# Of what shots writes of a clip these are worth comparing with scores; the others say which clip it is.
_MEASURED = {"duration_s", "fps", "bits_per_pixel"}
_PLACES = {f"{kind}_{side}" for kind in ("crop", "clean") for side in "xywh"}
_NAMES = {field.name for field in CLIPS} - _MEASURED | _PLACES | {"unit", "cluster"}


@dataclass(frozen=True)
class Counts:
    """Clips of a selection: all, those that select judged, those that no rule rejects, those that are kept."""

    clips: int
    judged: int
    passing: int
    kept: int


def parsed(question: Mapping[str, Any], stage: str) -> dict[str, Rule]:
    """The rules of gate or select in the settings of a plan."""
    settings = question["stage"].get(stage) or {}
    return rules.parse(settings.get("rules") or {}, percentiles=True)


@dataclass(frozen=True)
class Selection:
    """A plan's question and what became of its clips."""

    name: str
    books: Books
    question: Mapping[str, Any]  # with `stage`, as it stands in the plan

    def rules(self, stage: str) -> dict[str, Rule]:
        """Those of gate or select."""
        return parsed(self.question, stage)

    @cached_property
    def verdicts(self) -> dict[str, Verdicts]:
        """By filter."""
        found = thresholds.verdicts(self.books.clips, self.rules("gate"), self.rules("select"))
        return {seen.filter: seen for seen in found}

    @cached_property
    def bounds(self) -> dict[str, list[Bound]]:
        """The thresholds by filter."""
        return {name: thresholds.bounds(seen) for name, seen in self.verdicts.items()}

    @cached_property
    def effects(self) -> pa.Table:
        """What each rule removes, as rows of `thresholds.EFFECTS`."""
        found = [thresholds.effects(seen) for seen in self.verdicts.values()]
        return pa.concat_tables([thresholds.EFFECTS.empty_table(), *found])

    @property
    def counts(self) -> Counts:
        """How many clips are left where."""
        seen, clips = self.verdicts.get("select"), self.books.clips
        passing = int((seen.hits == 0).sum()) if seen else 0
        return Counts(clips.num_rows, len(seen.first) if seen else 0, passing, int(_kept(clips).sum()))

    def samples(self, clips: pa.Table, notes: Sequence[str]) -> list[Sample]:
        """Clips to look at; all their reasons are told as well.

        Args:
            clips: a few rows of the books' clips.
        """
        rows = accounting.clip_rows(replace(self.books, clips=clips, samples=None)).to_pylist()
        found = []
        for row, note in zip(rows, notes, strict=True):
            reasons = row.get("reasons") or row.get("gate_reasons") or []
            times = f"{row['start_s']:.2f} to {row['end_s']:.2f} s"
            found.append(Sample(row["clip_id"], row["name"], times, note, ", ".join(reasons)))
        return found


@dataclass(frozen=True)
class Sheet:
    """The clips on both sides of a threshold, by rising value."""

    bound: Bound
    outside: Sequence[Sample]
    inside: Sequence[Sample]


@dataclass(frozen=True)
class Card:
    """All about one column that rules look at."""

    column: str
    said: Mapping[str, str]  # the rule in words, by who says it
    spread: Markup | None
    survivors: Markup | None = None
    sheets: Sequence[Sheet] = ()


@dataclass(frozen=True)
class Correlations:
    """How columns rank the clips alike."""

    names: Sequence[str]
    matrix: np.ndarray  # float64 [C, C]

    @property
    def alike(self) -> list[tuple[str, str, float]]:
        """Pairs of columns that say nearly the same, or the opposite; the most alike first."""
        first, second = np.triu_indices(len(self.names), 1)
        strength = np.nan_to_num(np.abs(self.matrix[first, second]))
        order = np.argsort(-strength, kind="stable")[:_PAIRS]
        return [
            (self.names[first[at]], self.names[second[at]], float(self.matrix[first[at], second[at]]))
            for at in order
            if strength[at] >= _SAME
        ]


def cards(selections: Sequence[Selection], near: int) -> list[Card]:
    """A card for each column that a rule names, those of select first.

    Args:
        near: pictures on each side of a threshold.
    """
    asked = [rule.column for stage in _FILTERS for one in selections for rule in one.rules(stage).values()]
    found, sheets = [], _SHEETS
    for column in dict.fromkeys(asked):
        card = _card(column, selections, near if sheets > 0 else 0)
        found.append(card)
        sheets -= len(card.sheets)
    return found


def correlations(selection: Selection) -> Correlations | None:
    """Of the columns of numbers that were known when select judged: those of rules first."""
    clips = selection.verdicts["select"].clips if "select" in selection.verdicts else selection.books.clips
    ruled = [rule.column for stage in _FILTERS for rule in selection.rules(stage).values()]
    rejected = clips.filter(pc.equal(clips["state"], REJECTED)) if "state" in clips.column_names else clips
    columns: dict[str, np.ndarray] = {}
    for name in dict.fromkeys([*ruled, *(name for name in clips.column_names if name not in _NAMES)]):
        # What is null for all that were rejected was measured after select, of the clips that it kept.
        if name in rules.DERIVED or rejected.num_rows == 0 or rejected[name].null_count < rejected.num_rows:
            values = rules.numbers(rules.column(clips, name))
            if values is not None and len(columns) < _COLUMNS and _varies(values):
                columns[name] = values
    if len(columns) < 2:
        return None
    return Correlations(list(columns), thresholds.spearman(list(columns.values())))


def said(rule: Rule) -> str:
    """A rule in words."""
    parts = [
        f"≥ {short(rule.min)}" if rule.min is not None else "",
        f"≤ {short(rule.max)}" if rule.max is not None else "",
        f"without the lowest {short(rule.min_percentile)} % {_OF_THESE}" if rule.min_percentile is not None else "",
        f"without the highest {short(100 - rule.max_percentile)} % {_OF_THESE}"
        if rule.max_percentile is not None
        else "",
        f"one of {', '.join(map(str, rule.allowed))}" if rule.allowed is not None else "",
        f"not {', '.join(map(str, rule.forbidden))}" if rule.forbidden is not None else "",
    ]
    return " ".join(part for part in parts if part) or "known"


@dataclass(frozen=True)
class _Moving:
    """A threshold of a selection, and the clips that its filter judged."""

    selection: Selection
    seen: Verdicts
    bound: Bound
    mark: Mark

    @cached_property
    def values(self) -> np.ndarray:
        found = rules.numbers(rules.column(self.seen.clips, self.bound.column))
        assert found is not None  # a rule of words has no bound
        return found

    def line(self, points: np.ndarray) -> Line:
        at = np.append(points, self.bound.value)
        counts = thresholds.survivors(self.bound, self.values, self.seen.hits, at)
        return Line(self.mark, int(counts[-1]), counts[:-1])

    def sheet(self, near: int) -> Sheet:
        hits = self.seen.hits
        sides = thresholds.nearest(self.bound, self.values, hits, near)
        outside, inside = (self._samples(rows, hits) for rows in sides)
        return Sheet(self.bound, outside, inside)

    def _samples(self, rows: np.ndarray, hits: np.ndarray) -> list[Sample]:
        others = hits[rows] - self.bound.rejects(self.values[rows])
        notes = [
            f"{short(value)}, {more} more" if more else short(value)
            for value, more in zip(self.values[rows].tolist(), others.tolist(), strict=True)
        ]
        return self.selection.samples(self.seen.clips.take(pa.array(rows)), notes)


def _card(column: str, selections: Sequence[Selection], near: int) -> Card:
    words = _said(column, selections)
    moving = [one for at, selection in enumerate(selections) for one in _moving(column, selection, at, selections)]
    clips = next(
        one.books.clips for one in selections if set(rules.columns([column])) <= set(one.books.clips.column_names)
    )
    values = rules.numbers(rules.column(clips, column))
    # Of several selections it would be: by which of them?
    kept = _kept(clips) if len(selections) == 1 else None
    if values is None:
        return Card(column, words, _words(rules.column(clips, column), kept))
    there = ~np.isnan(values)
    if not there.any():
        return Card(column, words, None)
    axis = charts.axis(values[there], [one.bound.value for one in moving])
    marks = [one.mark for one in moving] + _gates(column, selections, moving)
    spread = _spread(axis, values, kept, marks)
    if not moving:
        return Card(column, words, spread)
    distinct = {(one.bound.lower, one.bound.value): one for one in reversed(moving)}
    sheets = [one.sheet(near) for one in reversed(distinct.values())] if near else []
    return Card(column, words, spread, _survival(axis, moving), sheets)


def _spread(axis: Axis, values: np.ndarray, kept: np.ndarray | None, marks: Sequence[Mark]) -> Markup:
    there = ~np.isnan(values)
    if kept is None:
        return charts.histogram(axis, None, values[there], marks)
    return charts.histogram(axis, values[there & kept], values[there & ~kept], marks)


def _kept(clips: pa.Table) -> np.ndarray:
    """bool [N]"""
    if "state" not in clips.column_names:
        return np.zeros(len(clips), bool)
    return pc.fill_null(pc.equal(clips["state"], KEPT), False).to_numpy()


def _moving(column: str, selection: Selection, at: int, selections: Sequence[Selection]) -> list[_Moving]:
    """The bounds of select; of gate if select has none."""
    for name in _FILTERS:
        seen = selection.verdicts.get(name)
        bounds = [bound for bound in selection.bounds.get(name, ()) if bound.column == column]
        if seen and bounds:
            colour = "bound" if len(selections) == 1 else charts.colour(at)
            return [_Moving(selection, seen, bound, Mark(bound.value, bound.lower, colour)) for bound in bounds]
    return []


def _gates(column: str, selections: Sequence[Selection], moving: Sequence[_Moving]) -> list[Mark]:
    """The bounds of the gate where those of select are drawn too."""
    drawn = {(one.bound.lower, one.bound.value) for one in moving}
    found = [bound for one in selections for bound in one.bounds.get("gate", ())]
    own = {(bound.lower, bound.value) for bound in found if bound.column == column} - drawn
    return [Mark(value, lower, "gate") for lower, value in sorted(own)]


def _survival(axis: Axis, moving: Sequence[_Moving]) -> Markup:
    points = axis.points([one.bound.value for one in moving])
    return charts.survival(axis, points, [one.line(points) for one in moving])


def _said(column: str, selections: Sequence[Selection]) -> dict[str, str]:
    """What gate and select say of a column; a gate that all share is said once."""
    found: dict[str, str] = {}
    for stage in reversed(_FILTERS):
        for one in selections:
            texts = [said(rule) for rule in one.rules(stage).values() if rule.column == column]
            if texts:
                who = stage if len(selections) == 1 or stage == "gate" else one.name
                found[who] = " · ".join(texts)
    return found


def _words(values: pa.ChunkedArray, kept: np.ndarray | None) -> Markup:
    flags = pa.nulls(len(values), pa.bool_()) if kept is None else pa.array(kept, pa.bool_())
    sums = pa.table({"value": pc.cast(values, pa.string()), "kept": flags}).group_by("value")
    counts = sums.aggregate([([], "count_all"), ("kept", "sum")])
    often = counts.sort_by([("count_all", "descending"), ("value", "ascending")]).slice(0, _WORDS).to_pylist()
    names = ["no value" if row["value"] is None else row["value"] for row in often]
    if kept is None:
        return table(["value", "clips"], zip(names, [f"{row['count_all']:,}" for row in often], strict=True))
    numbers = [[f"{row['kept_sum']:,}", f"{row['count_all'] - row['kept_sum']:,}"] for row in often]
    return table(["value", "kept", "not"], [[name, *two] for name, two in zip(names, numbers, strict=True)])


def _varies(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool(len(known)) and known.min() < known.max()
