"""How good predictions are. Every function takes those of clips that the model was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BINS = 10


@dataclass(frozen=True)
class Bin:
    """A tenth of the clips, by what was predicted."""

    predicted: float  # mean
    observed: float  # mean of what is true
    clips: int


def ranks(values: np.ndarray) -> np.ndarray:
    """float64 [N] from 1; equal values share the mean of their ranks."""
    _, of, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[of]


def auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """The chance that a positive clip scores above a negative one, ties counted half; None without both."""
    many, few = int((~positive).sum()), int(positive.sum())
    if not many or not few:
        return None
    return float((ranks(scores)[positive].sum() - few * (few + 1) / 2) / (few * many))


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's (PLCC); of ranks it is Spearman's (SRCC). None where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size else None


def brier(chances: np.ndarray, classes: np.ndarray) -> float:
    """The mean squared distance of chances [N, K] from the truth: 0 is perfect, a coin for two classes is 0.25."""
    wanted = np.eye(chances.shape[1])[classes]
    return float(((chances - wanted) ** 2).mean())


def log_loss(chances: np.ndarray, classes: np.ndarray) -> float:
    """In nats per clip."""
    return float(-np.log(np.maximum(chances[np.arange(len(classes)), classes], 1e-15)).mean())


def reliability(predicted: np.ndarray, observed: np.ndarray) -> list[Bin]:
    """Up to ten bins of equally many clips, in the order of what was predicted: are the 70 % true in 70 % of cases?"""
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, min(_BINS, len(order))) if len(part)]
    return [Bin(float(predicted[part].mean()), float(observed[part].mean()), len(part)) for part in parts]


def calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance between predicted and observed, weighted by clips (ECE)."""
    clips = sum(each.clips for each in bins)
    return sum(each.clips * abs(each.predicted - each.observed) for each in bins) / clips
