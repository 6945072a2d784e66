"""Two linear models, in numpy: multinomial logistic regression and ridge regression. Same input, same weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_ROUNDS = 500
_MEMORY = 12  # pairs of steps and changes of the gradient that L-BFGS remembers
_GRADIENT = 1e-6  # below which the mean loss is at its minimum
_ENOUGH = 1e-4  # share of the promised descent that a step must bring (Armijo)


@dataclass(frozen=True)
class Linear:
    """Scores of K classes, or of one number (K = 1)."""

    weights: np.ndarray  # float64 [K, D]
    intercepts: np.ndarray  # float64 [K]

    def scores(self, x: np.ndarray) -> np.ndarray:
        """float64 [N, K]."""
        return x @ self.weights.T + self.intercepts


def softmax(scores: np.ndarray) -> np.ndarray:
    """float64 [N, K], rows that add up to one."""
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def fit_logistic(x: np.ndarray, classes: np.ndarray, count: int, l2: float) -> Linear:
    """The least sum of log losses plus l2 / 2 times the squared weights; intercepts are free.

    Args:
        x: float64 [N, D]. `classes`: int64 [N], 0 to `count` - 1. `l2`: above 0, so that there is one minimum.
    """
    wanted = np.eye(count)[classes]
    # The weights lie in the span of the rows: where these are fewer than columns, that is a smaller problem.
    basis = np.linalg.qr(x.T)[0] if len(x) < x.shape[1] else None
    z = x if basis is None else x @ basis

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercepts = flat[:-count].reshape(count, -1), flat[-count:]
        scores = z @ weights.T + intercepts
        highest = scores.max(axis=1, keepdims=True)
        total = np.log(np.exp(scores - highest).sum(axis=1)) + highest[:, 0] - (scores * wanted).sum(axis=1)
        off = (softmax(scores) - wanted) / len(z)
        slopes = off.T @ z + l2 / len(z) * weights
        value = total.mean() + l2 / (2 * len(z)) * (weights**2).sum()
        return float(value), np.concatenate([slopes.ravel(), off.sum(axis=0)])

    found = minimised(loss, np.zeros(count * (z.shape[1] + 1)))
    weights = found[:-count].reshape(count, -1)
    return Linear(weights if basis is None else weights @ basis.T, found[-count:])


def fit_ridge(x: np.ndarray, values: np.ndarray, l2: float) -> Linear:
    """The least squared error plus l2 times the squared weights; the intercept is free. x: float64 [N, D]."""
    middle, mean = x.mean(axis=0), values.mean()
    centred = x - middle
    weights = np.linalg.solve(centred.T @ centred + l2 * np.eye(x.shape[1]), centred.T @ (values - mean))
    return Linear(weights[None], np.array([mean - middle @ weights]))


def temperature(scores: np.ndarray, classes: np.ndarray) -> float:
    """What scores are divided by so that their softmax is as sure as it is right (Guo et al. 2017, arXiv 1706.04599).

    Of n clips with a label and K labels, the label counts (n + 1) / (n + K) and each other 1 / (n + K), as Platt (1999)
    has it: a few clips that all came out right do not prove that none ever comes out wrong. The loss over the logarithm
    of the temperature has one valley; golden-section search between 1/20 and 20.

    Args:
        scores: float64 [N, K], of clips that the model was not fitted on. classes: int64 [N].
    """
    seen = np.bincount(classes, minlength=scores.shape[1])[classes, None]
    wanted = (np.eye(scores.shape[1])[classes] * seen + 1) / (seen + scores.shape[1])

    def loss(exponent: float) -> float:
        chances = softmax(scores / np.exp(exponent))
        return -float((wanted * np.log(np.maximum(chances, 1e-300))).sum(axis=1).mean())

    low, high, golden = -np.log(20), np.log(20), (5**0.5 - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def minimised(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray) -> np.ndarray:
    """Where a smooth convex function is least: L-BFGS with backtracking (Nocedal and Wright, algorithm 7.5).

    Args:
        loss: value and gradient at a point.
    """
    at, (value, slope) = start, loss(start)
    history: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=_MEMORY)
    for _ in range(_ROUNDS):
        if np.abs(slope).max() < _GRADIENT:
            break
        direction = -_bent(slope, history)
        promised, length = float(direction @ slope), 1.0
        while True:
            step = length * direction
            new_value, new_slope = loss(at + step)
            if new_value <= value + _ENOUGH * length * promised:
                break
            length /= 2
            if length < 1e-12:  # float64 tells no lower point apart
                return at
        if step @ (new_slope - slope) > 0:
            history.append((step, new_slope - slope))
        at, value, slope = at + step, new_value, new_slope
    return at


def _bent(slope: np.ndarray, history: deque[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The gradient times an estimate of the inverse Hessian: the two-loop recursion."""
    direction, shares = slope.copy(), []
    for step, change in reversed(history):
        share = (step @ direction) / (step @ change)
        direction -= share * change
        shares.append(share)
    if history:
        step, change = history[-1]
        direction *= (step @ change) / (change @ change)
    for (step, change), share in zip(history, reversed(shares), strict=True):
        direction += (share - (change @ direction) / (step @ change)) * step
    return direction
