"""Which of many are looked at: a seeded sample, evenly over strata where these are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

QUANTILES = 5


def some(total: int, count: int | None, seed: int) -> np.ndarray:
    """int64 [count]: which of `total`, in random order; all of them, if `count` is None or more."""
    return np.random.default_rng(seed).permutation(total)[:count]


def order(strata: Sequence[Any], seed: int) -> np.ndarray:
    """All indices, int64 [N], so that each beginning is a random sample that takes the strata in turn.

    Args:
        strata: what each belongs to; all the same for a plain sample.
    """
    shuffled = some(len(strata), None, seed)
    seen: dict[Any, int] = {}
    turns = np.empty(len(strata), np.int64)
    for at in shuffled:
        turns[at] = seen[strata[at]] = seen.get(strata[at], -1) + 1
    names = {name: rank for rank, name in enumerate(sorted(seen, key=str))}
    ranks = np.array([names[one] for one in strata], np.int64)
    return np.lexsort((ranks, turns)) if len(seen) > 1 else shuffled


def quantiles(values: np.ndarray) -> list[str]:
    """The fifth of the values that each belongs to, as a range; `none` for what has no value.

    Args:
        values: float64 [N], NaN for none.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return ["none"] * len(values)
    edges = np.quantile(known, np.linspace(0, 1, QUANTILES + 1))
    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, QUANTILES - 1)
    names = [f"{edges[at]:.3g} to {edges[at + 1]:.3g}" for at in range(QUANTILES)]
    return [names[at] if np.isfinite(value) else "none" for at, value in zip(bins, values, strict=True)]
