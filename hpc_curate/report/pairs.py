"""The pairs of clips next to the similarity from which two clips are duplicates: to see where it should lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.report.document import Sample
from hpc_curate.report.thresholds import Selection


def limits(stats: pa.Table, question: Mapping[str, Any]) -> dict[str, float]:
    """By method, the similarity from which select takes two clips for duplicates, where they need not be equal.

    Args:
        stats: `dedup_stats`.
        question: the settings of a plan.
    """
    own = stats.filter(pc.equal(stats["statistic"], "threshold"))
    found = dict(zip(own["method"].to_pylist(), own["value"].to_pylist(), strict=True))
    asked = (question["stage"].get("select") or {}).get("duplicate_similarity") or {}
    return {method: float(limit) for method, limit in {**found, **asked}.items() if limit is not None and limit < 1}


def borderline(edges: pa.Table, method: str, limit: float, count: int) -> pa.Table:
    """Of a method's edges those next to the limit, at most `count` on each side, the most similar first."""
    mine = edges.filter(pc.equal(edges["method"], method))
    # float32 as the similarities are, so that a pair at the limit is not below it.
    same = pc.greater_equal(mine["similarity"], pa.scalar(limit, pa.float32()))
    rising = [("similarity", "ascending"), ("clip_a", "ascending"), ("clip_b", "ascending")]
    falling = [("similarity", "descending"), *rising[1:]]
    above = mine.filter(same).sort_by(rising).slice(0, count)
    below = mine.filter(pc.invert(same)).sort_by(falling).slice(0, count)
    return pa.concat_tables([above, below]).sort_by(falling)


def samples(selection: Selection, edges: pa.Table, limit: float) -> list[Sample]:
    """The two clips of each edge side by side, with their similarity."""
    clips = selection.books.clips
    known = clips["clip_id"].combine_chunks()
    found = []
    for edge in edges.to_pylist():
        rows = clips.take(pc.index_in(pa.array([edge["clip_a"], edge["clip_b"]]), value_set=known))
        said = "duplicates" if edge["similarity"] >= np.float32(limit) else "not the same"
        found += selection.samples(rows, [f"{edge['similarity']:.4f}, {said}"] * 2)
    return found
