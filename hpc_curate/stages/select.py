"""Which clips are kept: thresholds first, then a walk over the survivors that drops near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips.keepers import resolve
from hpc_curate.clips.rules import Rule, apply, column, columns, parse
from hpc_curate.errors import ConfigError, MergeRefused
from hpc_curate.nearest import nearest
from hpc_curate.stage import Filter, Merge, Tables

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

DUPLICATE = "duplicate"

ROWS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("unit", pa.int32()),
        ("keep", pa.bool_()),
        ("state", pa.string()),  # kept, rejected or failed
        ("reason", pa.string()),  # why it was rejected: the first, in the order gate, rules, duplicate
        ("reasons", pa.list_(pa.string())),
        ("duplicate_of", pa.string()),  # the kept clip that stands for it
        ("error", pa.string()),  # why it failed
    ]
)

_EMBEDDING = "embedding"
_STATES = ("kept", "rejected", "failed")
_REASONS = pa.schema([ROWS.field("reason"), ROWS.field("reasons")])
_GATE = ("gate_keep", "gate_reason", "gate_reasons")


@dataclass(frozen=True)
class Select(Filter, Merge):
    """Rules on any column, then the best of each group of near-duplicates. Computes no score, searches nothing.

    A clip that the gate rejected stays rejected, with the gate's reason; a clip that a scorer could not score has
    failed and is not judged. The others meet the rules of `clips.rules`, whose percentiles are over these clips.
    Survivors are walked best first, and a clip is dropped only if an already kept one has an edge to it: no chains,
    and a group whose best member failed a rule keeps its second best.
    """

    name: ClassVar[str] = "select"
    keep_column: ClassVar[str] = "keep"

    rules: dict[str, Any] = field(default_factory=dict)
    # Columns, the most important first; the highest value is best, with a minus sign before the name the lowest. No
    # value is worse than any value. Ties fall to the clip_id.
    ranking: tuple[str, ...] = ("pixels", "sharpness", "duration_s")
    duplicates: bool = True  # false: near-duplicates are kept, and dedup need not have run
    # By method of dedup, the similarity from which two clips are duplicates. A method that is not named takes the
    # threshold that dedup states for it (the embedder's own, for embeddings); one that is null is not looked at.
    duplicate_similarity: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parsed()
        for method, similarity in self.duplicate_similarity.items():
            if similarity is not None and not 0 <= float(similarity) <= 1:
                raise ConfigError(f"select: duplicate_similarity.{method} is {similarity}; it lies between 0 and 1")

    def _parsed(self) -> dict[str, Rule]:
        return parse(self.rules, percentiles=True)

    def settings(self) -> dict[str, Any]:
        # A list, because the order of the rules decides which reason comes first.
        rules = [[name, rule] for name, rule in self.rules.items() if rule is not None]
        return {**super().settings(), "rules": rules}

    def reads(self) -> tuple[str, ...]:
        return (*self._columns(), *(("edges", "dedup_stats") if self.duplicates else ()))

    def _columns(self) -> tuple[str, ...]:
        # Without a rule the rows are still those of shots: other spans are another selection.
        names = ["start_pts", *_GATE, *(rule.column for rule in self._parsed().values())]
        if self.duplicates:
            names += [name.removeprefix("-") for name in self.ranking]
            # A clip that could not be embedded has failed: nobody knows what it duplicates.
            names += ["embedding_model"] if self.duplicate_similarity.get(_EMBEDDING, True) is not None else []
        return columns(names)

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": ROWS}

    def run(self, model: None, inputs: Inputs) -> Tables:
        clips = inputs.all_clips(self._columns())
        edges = self._edges(inputs.table("edges"), inputs.table("dedup_stats")) if self.duplicates else None
        return {"rows": self.rows(clips, edges)}

    def _edges(self, edges: pa.Table, stats: pa.Table) -> pa.Table:
        """Those that join duplicates."""
        own = stats.filter(pc.equal(stats["statistic"], "threshold"))
        limits = dict(zip(own["method"].to_pylist(), own["value"].to_pylist(), strict=True))
        for method, limit in self.duplicate_similarity.items():
            if method not in limits and limit is not None:
                raise ConfigError(f"select: dedup knows no method '{method}'; {nearest(method, limits)}")
        limits |= self.duplicate_similarity
        above = np.zeros(edges.num_rows, dtype=bool)
        for method, limit in limits.items():
            if limit is not None:
                # float32 as the similarities are, so that a clip at the threshold is not below it.
                reached = pc.greater_equal(edges["similarity"], pa.scalar(limit, pa.float32()))
                above |= pc.and_(pc.equal(edges["method"], method), reached).to_numpy()
        return edges.filter(pa.array(above))

    def rows(self, clips: pa.Table, edges: pa.Table | None) -> pa.Table:
        """One row of `ROWS` per clip, in the order of `clips`.

        Args:
            edges: clip_a, clip_b and similarity of duplicates; None: they are kept.
        """
        clips = clips.combine_chunks()
        gated = pc.fill_null(pc.invert(clips["gate_keep"]), False).to_numpy()
        failed = ~gated & pc.is_valid(clips["error"]).to_numpy()
        judged = np.flatnonzero(~gated & ~failed)
        verdicts = apply(self._parsed(), clips.take(pa.array(judged)))
        keep = np.zeros(clips.num_rows, dtype=bool)
        keep[judged] = verdicts["keep"].to_numpy()
        by = np.full(len(keep), -1)
        if edges is not None:
            keep, by = self._without_duplicates(clips, np.flatnonzero(keep), edges)

        # Every clip's reasons are a row of one of three tables, one behind the other.
        rows = np.where(gated, np.arange(len(keep)), len(keep) + len(judged) + 1)
        rows[judged] = len(keep) + np.arange(len(judged))
        rows[by >= 0] = len(keep) + len(judged)
        last = pa.table([[DUPLICATE, None], [[DUPLICATE], []]], schema=_REASONS)
        found = [clips.select(_GATE[1:]).rename_columns(_REASONS.names), verdicts.select(_REASONS.names), last]
        reasons = pa.concat_tables(table.cast(_REASONS) for table in found).take(pa.array(rows))
        return pa.table(
            {
                "clip_id": clips["clip_id"],
                "unit": clips["unit"],
                "keep": keep,
                "state": pa.array(_STATES).take(pa.array(np.where(failed, 2, ~keep))),
                "reason": reasons["reason"],
                "reasons": reasons["reasons"],
                "duplicate_of": clips["clip_id"].take(pa.array(by, mask=by < 0)),
                "error": pc.if_else(pa.array(failed), clips["error"], pa.scalar(None, pa.string())),
            }
        ).cast(ROWS)

    def _without_duplicates(
        self, clips: pa.Table, survivors: np.ndarray, edges: pa.Table
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which clips are kept, bool [N], and the kept clip that stands for a dropped one, int64 [N] (-1: none)."""
        ends = [pc.index_in(edges[end], value_set=clips["clip_id"].combine_chunks()) for end in ("clip_a", "clip_b")]
        if any(end.null_count for end in ends):
            raise MergeRefused("dedup names clips that shots did not make; run dedup again")
        a, b = (end.to_numpy().astype(np.int64) for end in ends)
        order = survivors[self._best_first(clips.take(pa.array(survivors)))]
        return resolve(order, (a, b, edges["similarity"].to_numpy()), -np.inf, clips.num_rows)

    def _best_first(self, clips: pa.Table) -> np.ndarray:
        """int64 [N], row numbers."""
        keys = [(name, "ascending" if name.startswith("-") else "descending") for name in self.ranking]
        values = {name: column(clips, name.removeprefix("-")) for name in self.ranking}
        table = pa.table({**values, "clip_id": clips["clip_id"]})
        order = pc.sort_indices(table, sort_keys=[*keys, ("clip_id", "ascending")])  # nulls last
        return order.to_numpy().astype(np.int64)
