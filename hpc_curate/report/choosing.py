"""Which clips the report shows: of each reason, each cluster and each group of duplicates a few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import rules
from hpc_curate.plural import counted
from hpc_curate.report.charts import short
from hpc_curate.report.document import Sample
from hpc_curate.report.thresholds import Selection
from hpc_curate.run_folder import kinds
from hpc_curate.run_folder.accounting import FAILED, KEPT, REJECTED
from hpc_curate.stages.select import DUPLICATE


@dataclass(frozen=True)
class Amounts:
    """How much is shown."""

    samples: int  # clips of a reason
    reasons: int  # the most frequent ones
    clusters: int  # the largest ones
    per_cluster: int  # clips of a cluster
    groups: int  # of duplicates, the largest ones
    per_group: int  # clips of a group
    seed: int


@dataclass(frozen=True)
class Shown:
    """The clips to show, by heading."""

    kept: Mapping[str, list[Sample]]
    rejected: Mapping[str, list[Sample]]
    failed: Mapping[str, list[Sample]]
    groups: list[list[Sample]]  # each with the clip that was kept first

    def clip_ids(self) -> set[str]:
        """Of all of them."""
        parts = [*self.kept.values(), *self.rejected.values(), *self.failed.values(), *self.groups]
        return {sample.clip_id for part in parts for sample in part}


@dataclass(frozen=True)
class Chooser:
    """Chooses among the clips of a selection."""

    selection: Selection
    clips: pa.Table  # accounting.clip_rows
    amounts: Amounts

    def shown(self, edges: pa.Table | None) -> Shown:
        """Everything.

        Args:
            edges: of dedup, which say how alike two clips are.
        """
        return Shown(self._kept(), self._by("reason", REJECTED), self._failed(), self._groups(edges))

    def _kept(self) -> dict[str, list[Sample]]:
        kept = self._of(KEPT)
        if "cluster" not in kept.column_names or kept["cluster"].null_count == kept.num_rows:
            return self._headed({f"{counted(kept.num_rows, 'clip')}": kept}, self.amounts.samples)
        parts = {}
        for cluster, size in _often(kept["cluster"].drop_null(), self.amounts.clusters):
            parts[f"Cluster {cluster}: {counted(size, 'clip')}"] = kept.filter(pc.equal(kept["cluster"], cluster))
        return self._headed(parts, self.amounts.per_cluster)

    def _by(self, column: str, state: str) -> dict[str, list[Sample]]:
        """Of those in a state some of each of the most frequent values of a column; duplicates are shown as groups."""
        rows, parts = self._of(state), {}
        rows = rows.filter(pc.fill_null(pc.not_equal(rows[column], DUPLICATE), True))
        for value, size in _often(rows[column].fill_null("no reason given"), self.amounts.reasons):
            same = pc.equal(rows[column].fill_null("no reason given"), value)
            parts[f"{value}: {counted(size, 'clip')}"] = rows.filter(same)
        return self._headed(parts, self.amounts.samples)

    def _failed(self) -> dict[str, list[Sample]]:
        rows = self._of(FAILED)
        told = kinds.of_errors(rows["error"])
        parts = {
            f"{kind}: {counted(size, 'clip')}": rows.filter(pc.equal(told, kind))
            for kind, size in _often(told.drop_null(), self.amounts.reasons)
        }
        return self._headed(parts, self.amounts.samples)

    def _groups(self, edges: pa.Table | None) -> list[list[Sample]]:
        """The largest groups: the kept clip, and those that were dropped for it."""
        dropped, kept = self._of(REJECTED), self._of(KEPT)
        dropped = dropped.filter(pc.fill_null(pc.equal(dropped["reason"], DUPLICATE), False))
        if not dropped.num_rows or not kept.num_rows:
            return []
        found = []
        for keeper, size in _often(dropped["duplicate_of"].drop_null(), self.amounts.groups):
            own = kept.filter(pc.equal(kept["clip_id"], keeper))
            some = self._some(dropped.filter(pc.equal(dropped["duplicate_of"], keeper)), self.amounts.per_group - 1)
            likeness = _likeness(edges, keeper, some["clip_id"]) if edges is not None else {}
            first = f"kept, for {counted(size, 'duplicate')}"
            notes = [likeness.get(clip, "duplicate") for clip in some["clip_id"].to_pylist()]
            found.append(self._samples(own, [first] * own.num_rows) + self._samples(some, notes))
        return found

    def _of(self, state: str) -> pa.Table:
        return self.clips.filter(pc.equal(self.clips["state"], state))

    def _headed(self, parts: Mapping[str, pa.Table], most: int) -> dict[str, list[Sample]]:
        chosen = {heading: self._some(rows, most) for heading, rows in parts.items() if rows.num_rows}
        return {heading: self._samples(rows, self._notes(rows)) for heading, rows in chosen.items()}

    def _some(self, rows: pa.Table, most: int) -> pa.Table:
        """A few of them by chance, in their order."""
        chosen = np.random.default_rng(self.amounts.seed).permutation(rows.num_rows)[:most]
        return rows.take(pa.array(np.sort(chosen)))

    def _samples(self, rows: pa.Table, notes: list[str]) -> list[Sample]:
        return [
            Sample(row["clip_id"], row["name"], f"{row['start_s']:.2f} to {row['end_s']:.2f} s", note)
            for row, note in zip(rows.to_pylist(), notes, strict=True)
        ]

    def _notes(self, rows: pa.Table) -> list[str]:
        """The error, the value that a rejected clip was rejected for, or the caption."""
        known = [*self.selection.rules("gate").values(), *self.selection.rules("select").values()]
        columns = {rule.column: rules.column(rows, rule.column).to_pylist() for rule in known}
        values = [{name: column[at] for name, column in columns.items()} for at in range(rows.num_rows)]
        return [_note(row, own) for row, own in zip(rows.to_pylist(), values, strict=True)]


def _note(row: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    if row["state"] == FAILED:
        return str(row["error"])
    words = (row["reason"] or "").split()
    for name, value in values.items():
        if name in words[:2] and value is not None:
            return f"{name} {short(value) if isinstance(value, (int, float)) else value}"
    return str(row["reason"] or row.get("caption") or "")


def _often(values: pa.ChunkedArray | pa.Array, most: int) -> list[tuple[Any, int]]:
    """The most frequent values and how often they are there."""
    found = [(count["values"], count["counts"]) for count in values.value_counts().to_pylist()]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:most]


def _likeness(edges: pa.Table, keeper: str, others: pa.ChunkedArray) -> dict[str, str]:
    """How alike the keeper and each of the others are, by the method that says most."""
    found: dict[str, tuple[float, str]] = {}
    for near, far in (("clip_a", "clip_b"), ("clip_b", "clip_a")):
        mine = edges.filter(pc.equal(edges[near], keeper))
        mine = mine.filter(pc.is_in(mine[far], others.combine_chunks()))
        for edge in mine.to_pylist():
            found[edge[far]] = max(found.get(edge[far], (0.0, "")), (edge["similarity"], edge["method"]))
    return {clip: f"{method} {similarity:.4f}" for clip, (similarity, method) in found.items()}
