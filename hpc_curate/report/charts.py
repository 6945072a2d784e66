"""Small pictures in SVG: how the values of a column are spread, and where the bounds lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpc_curate.report.markup import Markup, tag

_WIDTH, _HEIGHT, _BASE, _TOP = 320, 108, 88, 4
_BINS = 40
_LONG_TAIL = 20.0  # the 99.5th percentile over the median, from which the axis is logarithmic
_DECADES = 4  # at most, on a logarithmic axis


@dataclass(frozen=True)
class Bounds:
    """What a rule demands of a column; None: nothing."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _Axis:
    """Values to pixels, linear or logarithmic."""

    start: float
    end: float
    logarithmic: bool

    def place(self, values: np.ndarray) -> np.ndarray:
        """0 to 1; values beyond the ends are put at the ends."""
        if self.logarithmic:
            tiny = np.log10(self.start)
            share = (np.log10(np.maximum(values, self.start)) - tiny) / (np.log10(self.end) - tiny)
        else:
            share = (values - self.start) / (self.end - self.start)
        return np.clip(share, 0.0, 1.0)

    def at(self, share: float) -> float:
        """The value at a place between 0 and 1."""
        if self.logarithmic:
            return float(self.start * (self.end / self.start) ** share)
        return self.start + share * (self.end - self.start)


def histogram(kept: np.ndarray, others: np.ndarray, bounds: Bounds) -> Markup | None:
    """Bars of the kept clips, with those of the other clips on top; what the bounds shut out is shaded.

    Args:
        kept, others: float [N], without NaN. The first and last bars also hold what lies beyond the axis.

    Returns None where there are no values.
    """
    values = np.concatenate([kept, others]).astype(np.float64)
    if not len(values):
        return None
    axis = _axis(values, [bound for bound in (bounds.low, bounds.high) if bound is not None])
    counts = [_counted(axis, part.astype(np.float64)) for part in (kept, others)]
    highest = max(int((counts[0] + counts[1]).max()), 1)
    width = _WIDTH / _BINS
    parts = _shades(axis, bounds)
    for index in range(_BINS):
        first, rest = int(counts[0][index]), int(counts[1][index])
        says = tag(
            "title",
            f"{short(axis.at(index / _BINS))} to {short(axis.at((index + 1) / _BINS))}: {first:,} kept, {rest:,} not",
        )
        tall = [(_BASE - _TOP) * count / highest for count in (first, rest)]
        left = round(index * width, 2)
        for base, size, name in ((_BASE, tall[0], "kept"), (_BASE - tall[0], tall[1], "other")):
            if size:
                box = {"x": left, "y": round(base - size, 2), "width": round(width - 1, 2), "height": round(size, 2)}
                parts.append(tag("rect", says, class_=name, **box))
    parts += _lines(axis, bounds)
    parts.append(tag("line", x1=0, y1=_BASE, x2=_WIDTH, y2=_BASE, class_="axis"))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        place = {"x": share * _WIDTH, "y": _HEIGHT - 8, "text_anchor": anchor}
        parts.append(tag("text", short(axis.at(share)), **place))
    return tag("svg", parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", class_="chart", aria_label="histogram")


def _axis(values: np.ndarray, bounds: Sequence[float]) -> _Axis:
    """From the 0.5th to the 99.5th percentile, and on to the bounds."""
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    logarithmic = bool(low > 0 and all(bound > 0 for bound in bounds) and high > _LONG_TAIL * middle)
    start, end = min([low, *bounds]), max([high, *bounds])
    if logarithmic:
        start = max(start, end / 10**_DECADES)
    if end <= start:
        start, end = start - 0.5, end + 0.5
    return _Axis(float(start), float(end), logarithmic)


def _counted(axis: _Axis, values: np.ndarray) -> np.ndarray:
    bins = np.minimum((axis.place(values) * _BINS).astype(int), _BINS - 1)
    return np.bincount(bins, minlength=_BINS)


def _x(axis: _Axis, value: float) -> float:
    # A line at the edge stays in the picture.
    return round(1 + float(axis.place(np.array([value]))[0]) * (_WIDTH - 2), 2)


def _shades(axis: _Axis, bounds: Bounds) -> list[Markup]:
    """What lies outside the bounds."""
    spans = []
    if bounds.low is not None:
        spans.append((0.0, _x(axis, bounds.low)))
    if bounds.high is not None:
        spans.append((_x(axis, bounds.high), float(_WIDTH)))
    size = {"y": _TOP, "height": _BASE - _TOP}
    return [tag("rect", x=start, width=round(end - start, 2), class_="out", **size) for start, end in spans]


def _lines(axis: _Axis, bounds: Bounds) -> list[Markup]:
    places = [_x(axis, bound) for bound in (bounds.low, bounds.high) if bound is not None]
    return [tag("line", x1=x, y1=0, x2=x, y2=_BASE, class_="bound") for x in places]


def short(value: float) -> str:
    """A number as briefly as it can be read."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
