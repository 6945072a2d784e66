"""Boxes in a picture: left, top, right, bottom, in shares of its sides or in pixels, as float64 [N, 4]."""

from __future__ import annotations

import itertools

import numpy as np


def overlap_shares(mine: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each pair has in common, by side: what they share, the shorter of the two and what both span together.

    Returns:
        Three arrays float64 [N, M, 2]: across and down.
    """
    mine, theirs = mine[:, None], theirs[None]
    shared = np.minimum(mine[..., 2:], theirs[..., 2:]) - np.maximum(mine[..., :2], theirs[..., :2])
    sizes = [boxes[..., 2:] - boxes[..., :2] for boxes in (mine, theirs)]
    together = np.maximum(mine[..., 2:], theirs[..., 2:]) - np.minimum(mine[..., :2], theirs[..., :2])
    return np.maximum(shared, 0), np.minimum(*sizes), together


def union_area(boxes: np.ndarray) -> float:
    """The area under at least one box."""
    if not len(boxes):
        return 0.0
    xs, ys = (np.unique(boxes[:, [first, first + 2]]) for first in (0, 1))
    # Between two neighbouring edges a box covers all or nothing.
    across = (boxes[:, None, 0] <= xs[:-1]) & (boxes[:, None, 2] >= xs[1:])  # [N, X]
    down = (boxes[:, None, 1] <= ys[:-1]) & (boxes[:, None, 3] >= ys[1:])  # [N, Y]
    covered = np.einsum("nx,ny->xy", across.astype(int), down.astype(int)) > 0
    return float(np.diff(xs) @ covered @ np.diff(ys))


def united(boxes: np.ndarray) -> np.ndarray:
    """Boxes that touch become the box around them, until none touch; in order of their upper, then left edges."""
    waiting: list[tuple[float, ...]] = [tuple(box) for box in boxes.tolist()]
    done: list[tuple[float, ...]] = []
    while waiting:
        box = waiting.pop()
        touching = [other for other in (*waiting, *done) if _touch(box, other)]
        if not touching:
            done.append(box)
            continue
        waiting = [other for other in waiting if other not in touching]
        done = [other for other in done if other not in touching]
        lefts, tops, rights, bottoms = zip(box, *touching, strict=True)
        waiting.append((min(lefts), min(tops), max(rights), max(bottoms)))
    return np.array(sorted(done, key=lambda box: (box[1], box[0]))).reshape(-1, 4)


def _touch(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def largest_free(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The largest box within `picture`, float64 [4], that no box reaches into; of equal ones the leftmost."""
    lefts = np.unique([picture[0], *boxes[:, 2].clip(picture[0], picture[2])])
    rights = np.unique([picture[2], *boxes[:, 0].clip(picture[0], picture[2])])
    best = np.zeros(4)
    for left, right in itertools.product(lefts, rights):
        if right <= left:
            continue
        between = boxes[(boxes[:, 0] < right) & (boxes[:, 2] > left)]
        top, bottom = _longest_gap(picture[1], picture[3], between[:, 1::2])
        if (right - left) * (bottom - top) > (best[2] - best[0]) * (best[3] - best[1]):
            best = np.array([left, top, right, bottom])
    return best


def _longest_gap(start: float, end: float, taken: np.ndarray) -> tuple[float, float]:
    """Between start and end, outside of what is taken: float64 [N, 2]."""
    gaps = []
    for first, last in taken[np.argsort(taken[:, 0])].tolist():
        gaps.append((start, min(first, end)))
        start = max(start, last)
    return max([*gaps, (start, end)], key=lambda gap: gap[1] - gap[0])
