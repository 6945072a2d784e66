"""Cross-validation by source video: clips of one video are alike, so none is predicted by a model that saw another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hpc_curate.errors import ConfigError
from hpc_curate.plural import counted

Predict = Callable[[np.ndarray], np.ndarray]  # rows -> predictions of these rows
Fit = Callable[[np.ndarray], Predict]  # rows to learn from -> what was learnt


def by_video(videos: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """int64 [N], the fold of each clip: whole videos, and in each fold about as much of every class.

    The largest videos first, each to the fold in which it leaves the classes most evenly spread.

    Raises:
        ConfigError: a class is in one video only, so that nothing can be said of other videos.
    """
    names, of = np.unique(videos, return_inverse=True)
    if count < 2:
        raise ConfigError(f"folds={count}: at least 2 are needed")
    table = np.zeros((len(names), int(classes.max()) + 1))
    np.add.at(table, (of, classes), 1)
    seldom = np.flatnonzero((table > 0).sum(axis=0) == 1)
    if len(names) < 2 or len(seldom):
        raise ConfigError(
            "cross-validation needs each label in at least two videos: label clips of more videos"
            + (f" ({counted(len(seldom), 'label')} in one video only)" if len(names) > 1 else "")
        )
    count = min(count, len(names))
    held, fold = np.zeros((count, table.shape[1])), np.zeros(len(names), np.int64)
    totals = table.sum(axis=0)
    for video in np.argsort(-table.sum(axis=1), kind="stable"):
        spreads = []
        for each in range(count):
            held[each] += table[video]
            spreads.append((held / totals).std(axis=0).sum())
            held[each] -= table[video]
        fold[video] = int(np.argmin(np.round(spreads, 12)))
        held[fold[video]] += table[video]
    return fold[of]


def out_of_fold(folds: np.ndarray, fit: Fit) -> np.ndarray:
    """float64 [N, ...]: for each clip what a model says that was fitted on the other folds."""
    parts = []
    for each in np.unique(folds):
        predict = fit(np.flatnonzero(folds != each))
        mine = np.flatnonzero(folds == each)
        parts.append((mine, predict(mine)))
    found = np.zeros((len(folds), *parts[0][1].shape[1:]))
    for mine, predictions in parts:
        found[mine] = predictions
    return found
