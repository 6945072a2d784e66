"""Which of several near-duplicates is kept, and of too many of a kind: a walk in ranking order, without chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Edges = tuple[np.ndarray, np.ndarray, np.ndarray]  # a int64 [E], b int64 [E], similarity float32 [E]

_BLOCK = 1 << 20  # edges turned into Python integers at once
_KEPT = -1  # nobody stands for it; below that, a quota: -2 is the first


@dataclass(frozen=True)
class Quota:
    """The most clips that are kept of each group."""

    groups: np.ndarray  # int64 [count], the group of each clip from 0; -1: it is in none, and never over the quota
    most: int


def resolve(
    order: np.ndarray, edges: Edges, threshold: float, count: int | None = None, quotas: Sequence[Quota] = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walk the survivors best first and drop a clip only if an already kept clip has an edge to it.

    A dropped clip drops nobody (no chains), and clips that are not in `order` neither drop nor are kept, so a group
    whose best member failed another rule keeps its second best. A clip that comes when one of its quotas is full is
    over it: it drops nobody, and takes no place in another quota.

    Args:
        order: int64 [S], indexes of the surviving clips, best first, each once.
        edges: between clip indexes, in either direction; only those with similarity >= `threshold` count.
        count: number of clips (default: the largest index named in `order`, plus one).

    Returns:
        kept: bool [count], False for clips not in `order`.
        by: int64 [count], the best ranked kept clip that stands for a dropped one; -1 for all others.
        over: int64 [count], the first quota that was full when a clip came; -1 for all others.
    """
    order = np.asarray(order, dtype=np.int64)
    if count is None:
        count = int(order.max()) + 1 if len(order) else 0
    rank = np.full(count, -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    better, worse = _ranked(edges, threshold, rank)

    # Edges sorted by their better end: when a clip's own edges come up, all clips that could drop it have had theirs.
    stands = [_KEPT] * len(order)  # by rank: who stands for it, or a quota
    door = _Door(order, quotas, stands) if quotas else None
    for start in range(0, len(better), _BLOCK):
        block = slice(start, start + _BLOCK)
        for first, second in zip(better[block].tolist(), worse[block].tolist(), strict=True):
            if door:
                door.let_in(first)
            if stands[first] == _KEPT and stands[second] == _KEPT:
                stands[second] = first
    if door:
        door.let_in(len(order) - 1)

    found = np.asarray(stands, dtype=np.int64)  # [S]
    kept = np.zeros(count, dtype=bool)
    kept[order] = found == _KEPT
    by, over = np.full(count, -1, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    by[order[found >= 0]] = order[found[found >= 0]]
    over[order[found < _KEPT]] = _KEPT - 1 - found[found < _KEPT]
    return kept, by, over


class _Door:
    """Lets clips in by rank, as long as there is room in all of their quotas."""

    def __init__(self, order: np.ndarray, quotas: Sequence[Quota], stands: list[int]) -> None:
        self._groups = [quota.groups[order].tolist() for quota in quotas]  # by rank
        self._most = [quota.most for quota in quotas]
        self._inside = [[0] * (int(quota.groups.max(initial=-1)) + 1) for quota in quotas]
        self._stands = stands
        self._next = 0

    def let_in(self, last: int) -> None:
        """All that have not come yet, up to and with the rank `last`: whoever could drop them has been asked."""
        for rank in range(self._next, last + 1):
            if self._stands[rank] == _KEPT:
                self._stands[rank] = self._verdict([groups[rank] for groups in self._groups])
        self._next = max(self._next, last + 1)

    def _verdict(self, groups: list[int]) -> int:
        for number, (group, most, inside) in enumerate(zip(groups, self._most, self._inside, strict=True)):
            if group >= 0 and inside[group] >= most:
                return _KEPT - 1 - number
        for group, inside in zip(groups, self._inside, strict=True):
            if group >= 0:
                inside[group] += 1
        return _KEPT


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
