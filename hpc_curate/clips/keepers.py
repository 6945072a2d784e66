"""Which of several near-duplicates is kept: a walk in ranking order, without chains."""

from __future__ import annotations

import numpy as np

Edges = tuple[np.ndarray, np.ndarray, np.ndarray]  # a int64 [E], b int64 [E], similarity float32 [E]

_BLOCK = 1 << 20  # edges turned into Python integers at once


def resolve(
    order: np.ndarray, edges: Edges, threshold: float, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Walk the survivors best first and drop a clip only if an already kept clip has an edge to it.

    A dropped clip drops nobody (no chains), and clips that are not in `order` neither drop nor are kept, so a group
    whose best member failed another rule keeps its second best.

    Args:
        order: int64 [S], indexes of the surviving clips, best first, each once.
        edges: between clip indexes, in either direction; only those with similarity >= `threshold` count.
        count: number of clips (default: the largest index named in `order`, plus one).

    Returns:
        kept: bool [count], False for clips not in `order`.
        by: int64 [count], the best ranked kept clip that stands for a dropped one; -1 for all others.
    """
    order = np.asarray(order, dtype=np.int64)
    if count is None:
        count = int(order.max()) + 1 if len(order) else 0
    rank = np.full(count, -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    better, worse = _ranked(edges, threshold, rank)

    # Edges sorted by their better end: when a clip's own edges come up, all clips that could drop it have had theirs.
    stands = [-1] * len(order)  # by rank
    for start in range(0, len(better), _BLOCK):
        block = slice(start, start + _BLOCK)
        for first, second in zip(better[block].tolist(), worse[block].tolist(), strict=True):
            if stands[first] < 0 and stands[second] < 0:
                stands[second] = first

    keeper = np.asarray(stands, dtype=np.int64)  # [S], ranks
    kept = np.zeros(count, dtype=bool)
    kept[order] = keeper < 0
    by = np.full(count, -1, dtype=np.int64)
    dropped = keeper >= 0
    by[order[dropped]] = order[keeper[dropped]]
    return kept, by


def _ranked(edges: Edges, threshold: float, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges that count, as ranks (better, worse), sorted by the better end."""
    a, b, similarity = edges
    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    named = (a < len(rank)) & (b < len(rank)) & (np.asarray(similarity) >= np.float32(threshold)) & (a != b)
    a, b = rank[a[named]], rank[b[named]]
    both = (a >= 0) & (b >= 0)
    better, worse = np.minimum(a, b)[both], np.maximum(a, b)[both]
    sort = np.argsort(better, kind="stable")
    return better[sort], worse[sort]
