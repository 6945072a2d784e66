"""Clips as points in a plane, so that like lies beside like: one SVG without script, whatever the number of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpc_curate.report.markup import Markup, tag

_WIDTH, _HEIGHT, _MARGIN = 960, 560, 12
_CELL = 24  # side of the squares that name the clips in them when the pointer rests there
_NAMES = 3  # of one square
_FITTED = 5_000  # points that the projection is computed from; the others are put where it puts them
_EDGE = 0.5  # percentile from which points are put at the edge, on both sides


@dataclass(frozen=True)
class Colouring:
    """One way to colour the points."""

    name: str
    of: np.ndarray  # int64 [N], the group of each point
    groups: Mapping[int, tuple[str, str]]  # by group: a class of report.css, and what the legend says


def plane(vectors: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """The first two principal components, float64 [N, 2], and the share of the variance that they explain.

    Args:
        vectors: float [N > 0, D > 1].
    """
    some = np.random.default_rng(seed).permutation(len(vectors))[:_FITTED]
    mean = vectors[some].astype(np.float64).mean(axis=0)
    fitted = vectors[some].astype(np.float64) - mean
    values, axes = np.linalg.eigh(fitted.T @ fitted)  # rising
    first = axes[:, [-1, -2]]
    # The sign of an axis means nothing: it is chosen, so that every machine draws the same.
    first = first * np.sign(first[np.abs(first).argmax(axis=0), [0, 1]])
    total = float(values.sum())
    return (vectors.astype(np.float64) - mean) @ first, float(values[-2:].sum()) / total if total > 0 else 1.0


def draw(places: np.ndarray, names: Sequence[str], colourings: Sequence[Colouring]) -> Markup:
    """The map, with a button for each colouring.

    Args:
        places: float [N > 0, 2].
        names: of the points, to be read when the pointer rests near them.
    """
    across, down = _scaled(places[:, 0], _WIDTH), _HEIGHT - _scaled(places[:, 1], _HEIGHT)
    layers, buttons, legends = [], [], []
    for at, colouring in enumerate(colourings):
        dots = [_dots(across, down, colouring.of == group, look) for group, (look, _) in colouring.groups.items()]
        layers.append(tag("g", dots, class_=f"layer by{at}"))
        chosen = {"checked": ""} if at == 0 else {}
        button = tag("input", type="radio", name="colouring", class_=f"to{at}", **chosen)
        buttons.append(tag("label", button, f" {colouring.name}"))
        keys = [_key(look, text) for look, text in colouring.groups.values()]
        legends.append(tag("div", keys, class_=f"legend layer by{at}"))
    cells = _cells(across, down, names)
    shape = {"viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "aria_label": "map of clips"}
    choice = tag("div", tag("span", "colour:"), buttons, class_="choice")
    return tag("div", choice, tag("svg", layers, tag("g", cells, class_="cells"), **shape), legends, class_="map")


def _scaled(values: np.ndarray, size: int) -> np.ndarray:
    """Places in a picture of this size; a few points far away do not push the others together."""
    low, high = np.percentile(values, [_EDGE, 100 - _EDGE])
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return _MARGIN + np.clip(share, 0.0, 1.0) * (size - 2 * _MARGIN)


def _dots(across: np.ndarray, down: np.ndarray, chosen: np.ndarray, look: str) -> Markup:
    """All points of a group as one element: lines without a length, which round caps make dots of."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in zip(across[chosen], down[chosen], strict=True))
    return tag("path", d=path, class_=look)


def _key(look: str, text: str) -> Markup:
    return tag("span", tag("i", class_=f"key {look}"), text)


def _cells(across: np.ndarray, down: np.ndarray, names: Sequence[str]) -> list[Markup]:
    """A clear square over each place where points are; its title names some of them."""
    columns = -(-_WIDTH // _CELL)
    of = (down // _CELL).astype(int) * columns + (across // _CELL).astype(int)
    order = np.argsort(of, kind="stable")
    found, first, counts = np.unique(of[order], return_index=True, return_counts=True)
    cells = []
    for cell, start, count in zip(found.tolist(), first.tolist(), counts.tolist(), strict=True):
        told = [names[at] for at in order[start : start + min(count, _NAMES)]]
        more = [f"and {count - len(told):,} more"] if count > len(told) else []
        box = {"x": cell % columns * _CELL, "y": cell // columns * _CELL, "width": _CELL, "height": _CELL}
        cells.append(tag("rect", tag("title", "\n".join([*told, *more])), **box))
    return cells
