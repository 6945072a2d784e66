"""Which clips are kept: thresholds first, then a walk over the survivors that drops near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import align
from hpc_curate.clips.keepers import Quota, resolve
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

WEIGHT = pa.field("sampling_weight", pa.float32())  # with balance_by

_EMBEDDING = "embedding"
_NO_EDGES = pa.schema([("clip_a", pa.string()), ("clip_b", pa.string()), ("similarity", pa.float32())]).empty_table()
_STATES = ("kept", "rejected", "failed")
_REASONS = pa.schema([ROWS.field("reason"), ROWS.field("reasons")])
_GATE = ("gate_keep", "gate_reason", "gate_reasons")


@dataclass(frozen=True)
class Select(Filter, Merge):
    """Rules on any column, then the best of each group of near-duplicates. Computes no score, searches nothing.

    A clip that the gate rejected stays rejected, with the gate's reason; a clip that a scorer could not score has
    failed and is not judged. The others meet the rules of `clips.rules`, whose percentiles are over these clips.
    Survivors are walked best first, and a clip is dropped only if an already kept one has an edge to it: no chains,
    and a group whose best member failed a rule keeps its second best. In the same walk a clip is left out when a quota
    of its is full, so that of each kind the best are kept.

    With `balance_by`, a column more: `sampling_weight` of each kept clip, 1 / sqrt(size of its group among the kept
    ones), as Movie Gen (arXiv 2410.13720) resamples concepts; the mean is 1, and null is for clips in no group.
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
    # By column, the most clips that are kept of each of its values: {video_id: 50, cluster: 1000}; null: any number.
    quotas: dict[str, Any] = field(default_factory=dict)
    balance_by: str | None = None  # the column whose values are groups, such as cluster; null: no weights

    def __post_init__(self) -> None:
        self._parsed()
        for name, most in self.quotas.items():
            if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
                raise ConfigError(f"select: quotas.{name} is {most!r}; it is a number of clips, 1 at least, or null")
        for method, similarity in self.duplicate_similarity.items():
            if similarity is not None and not 0 <= float(similarity) <= 1:
                raise ConfigError(f"select: duplicate_similarity.{method} is {similarity}; it lies between 0 and 1")

    def _parsed(self) -> dict[str, Rule]:
        return parse(self.rules, percentiles=True)

    def settings(self) -> dict[str, Any]:
        # A list, because the order of the rules decides which reason comes first.
        rules = [[name, rule] for name, rule in self.rules.items() if rule is not None]
        return {**super().settings(), "rules": rules, "quotas": list(self._quotas().items())}

    def _quotas(self) -> dict[str, int]:
        return {name: most for name, most in self.quotas.items() if most is not None}

    def reads(self) -> tuple[str, ...]:
        return (*self._columns(), *(("edges", "dedup_stats") if self.duplicates else ()))

    def _columns(self) -> tuple[str, ...]:
        # Without a rule the rows are still those of shots: other spans are another selection.
        names = ["start_pts", *_GATE, *(rule.column for rule in self._parsed().values())]
        names += [*self._quotas(), *([self.balance_by] if self.balance_by else [])]
        if self.duplicates or self._quotas():
            names += [name.removeprefix("-") for name in self.ranking]
        if self.duplicates:
            # A clip that could not be embedded has failed: nobody knows what it duplicates.
            names += ["embedding_model"] if self.duplicate_similarity.get(_EMBEDDING, True) is not None else []
        return columns(names)

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": ROWS.append(WEIGHT) if self.balance_by else ROWS}

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
        gated = pc.fill_null(pc.invert(clips["gate_keep"]), False).to_numpy()
        failed = ~gated & pc.is_valid(clips["error"]).to_numpy()
        judged = np.flatnonzero(~gated & ~failed)
        verdicts = self._verdicts(clips, judged)
        keep = np.zeros(clips.num_rows, dtype=bool)
        keep[judged] = verdicts["keep"].to_numpy()
        by = over = np.full(len(keep), -1)
        if edges is not None or self._quotas():
            keep, by, over = self._walked(clips, np.flatnonzero(keep), edges)

        # Every clip's reasons are a row of one of three tables, one behind the other.
        rows = np.where(gated, np.arange(len(keep)), len(keep) + len(judged) + 1 + len(self._quotas()))
        rows[judged] = len(keep) + np.arange(len(judged))
        said = [DUPLICATE, *(over_quota(name) for name in self._quotas())]
        rows = np.where(by >= 0, len(keep) + len(judged), rows)
        rows = np.where(over >= 0, len(keep) + len(judged) + 1 + over, rows)
        last = pa.table([[*said, None], [*([word] for word in said), []]], schema=_REASONS)
        found = [clips.select(_GATE[1:]).rename_columns(_REASONS.names), verdicts.select(_REASONS.names), last]
        reasons = pa.concat_tables(table.cast(_REASONS) for table in found).take(pa.array(rows))
        selected = pa.table(
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
        )
        if self.balance_by:
            selected = selected.append_column(WEIGHT, sampling_weights(column(clips, self.balance_by), keep))
        return selected.cast(self.writes()["rows"])

    def _verdicts(self, clips: pa.Table, judged: np.ndarray) -> pa.Table:
        """What the rules say of some clips: keep, reason and reasons."""
        rules = self._parsed()
        names = columns(rule.column for rule in rules.values())
        rows = clips.select(dict.fromkeys(("clip_id", *names))).take(pa.array(judged))
        return apply(rules, rows).drop_columns("clip_id")

    def _walked(
        self, clips: pa.Table, survivors: np.ndarray, edges: pa.Table | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which clips are kept, bool [N]; for the others int64 [N], the kept clip that stands for one, and the quota
        that was full (-1: none)."""
        edges = _NO_EDGES if edges is None else edges
        ends = [align.rows_of(edges[end], clips["clip_id"]) for end in ("clip_a", "clip_b")]
        if any(end.null_count for end in ends):
            raise MergeRefused("dedup names clips that shots did not make; run dedup again")
        a, b = (end.to_numpy().astype(np.int64) for end in ends)
        order = survivors[self._best_first(clips, survivors)]
        quotas = [Quota(_groups(column(clips, name)), most) for name, most in self._quotas().items()]
        return resolve(order, (a, b, edges["similarity"].to_numpy()), -np.inf, clips.num_rows, quotas)

    def _best_first(self, clips: pa.Table, some: np.ndarray) -> np.ndarray:
        """int64 [N], places in `some`, which are row numbers."""
        keys = [(name, "ascending" if name.startswith("-") else "descending") for name in self.ranking]
        values = {name: column(clips, name.removeprefix("-")) for name in self.ranking}
        table = pa.table({**values, "clip_id": clips["clip_id"]}).take(pa.array(some))
        order = pc.sort_indices(table, sort_keys=[*keys, ("clip_id", "ascending")])  # nulls last
        return order.to_numpy().astype(np.int64)


def over_quota(name: str) -> str:
    """The reason of a clip for which a quota had no place left."""
    return f"over the quota of {name}"


def sampling_weights(values: pa.ChunkedArray, keep: np.ndarray) -> pa.Array:
    """How often to draw each kept clip, so that a group of n is drawn sqrt(n) times as often as one of a single clip.

    Args:
        values: [N], equal for clips of one group; null: of none. keep: bool [N].

    Returns:
        float32 [N], with a mean of 1; null for clips that are not kept or of no group.
    """
    groups = np.where(keep, _groups(values), -1)
    named = groups >= 0
    weights = np.zeros(len(keep))
    weights[named] = np.bincount(groups[named])[groups[named]] ** -0.5
    weights /= weights[named].mean() if named.any() else 1
    return pa.array(np.round(weights, 6), pa.float32(), mask=~named)


def _groups(values: pa.ChunkedArray) -> np.ndarray:
    """int64 [N], a number for each value from 0; -1 where there is none."""
    codes = values.combine_chunks().dictionary_encode().indices
    return pc.fill_null(codes, -1).to_numpy(zero_copy_only=False).astype(np.int64)
