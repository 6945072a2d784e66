"""Small pictures in SVG: how values are spread, where the bounds lie, and how many clips would survive elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpc_curate.plural import counted
from hpc_curate.report.markup import Markup, tag

_WIDTH, _HEIGHT, _BASE, _TOP = 480, 150, 128, 18
_BINS = 48
_LONG_TAIL = 20.0  # the 99.5th percentile over the median, from which the axis is logarithmic
_SELECTIONS = 6  # that have a colour of their own in report.css
_DECADES = 4  # at most, on a logarithmic axis
_ROOM = 0.5  # of an axis, for what lies beyond its percentiles on one side; what lies further out gets none
_STROKE, _WIDER = 2, 4  # width of a line, and what it has more for each line that lies on it


@dataclass(frozen=True)
class Mark:
    """A threshold in a picture."""

    value: float
    lower: bool  # what is below it is shut out; False: what is above it
    name: str = "bound"  # a class of report.css, which gives it its colour


@dataclass(frozen=True)
class Line:
    """How many clips would survive, over the whole axis, if one bound moved."""

    mark: Mark  # where it is now
    now: int  # clips that survive there
    counts: np.ndarray  # int64 [points of the axis]


@dataclass(frozen=True)
class Axis:
    """Values to places between 0 and 1, linear or logarithmic."""

    start: float
    end: float
    logarithmic: bool = False
    below: bool = False  # whether there are values before the start
    above: bool = False  # and after the end

    def place(self, values: np.ndarray) -> np.ndarray:
        """Values beyond the ends are put at the ends."""
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

    def points(self, bounds: Sequence[float] = ()) -> np.ndarray:
        """float64 [K], rising: two for each bar of a histogram, and the bounds, where lines must be exact."""
        even = [self.at(index / (2 * _BINS)) for index in range(2 * _BINS + 1)]
        return np.unique(np.array([*even, *(bound for bound in bounds if self.start <= bound <= self.end)]))


def axis(values: np.ndarray, bounds: Sequence[float]) -> Axis:
    """From the 0.5th to the 99.5th percentile, and on to the bounds and to values that are not far away.

    Args:
        values: float64 [N > 0], without NaN.
    """
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    logarithmic = bool(low > 0 and all(bound > 0 for bound in bounds) and high > _LONG_TAIL * middle)
    start, end = min([low, *bounds]), max([high, *bounds])
    if logarithmic:
        start = max(start, end / 10**_DECADES)
    if end <= start:
        start, end = start - 0.5, end + 0.5
    middle_part, least, most = Axis(float(start), float(end), logarithmic), float(values.min()), float(values.max())
    if middle_part.at(-_ROOM) <= least < start:
        start = least
    if end < most <= middle_part.at(1 + _ROOM):
        end = most
    return Axis(float(start), float(end), logarithmic, below=least < start, above=most > end)


def histogram(over: Axis, kept: np.ndarray | None, others: np.ndarray, marks: Sequence[Mark]) -> Markup:
    """Bars of the kept clips, with those of the other clips on top; what `bound` marks shut out is shaded.

    Args:
        kept, others: float [N], without NaN. The first and last bars also hold what lies beyond the axis, and say
            so. Without `kept` clips are not told apart.
    """
    counts = [_counted(over, part.astype(np.float64)) for part in (np.zeros(0) if kept is None else kept, others)]
    highest = max(int((counts[0] + counts[1]).max()), 1)
    width = _WIDTH / _BINS
    parts = _shades(over, marks)
    for index in range(_BINS):
        first, rest = int(counts[0][index]), int(counts[1][index])
        told = counted(rest, "clip") if kept is None else f"{first:,} kept, {rest:,} not"
        says = tag("title", f"{_span(over, index)}: {told}")
        tall = [(_BASE - _TOP) * count / highest for count in (first, rest)]
        left = round(index * width, 2)
        for base, size, name in ((_BASE, tall[0], "kept"), (_BASE - tall[0], tall[1], "other")):
            if size:
                box = {"x": left, "y": round(base - size, 2), "width": round(width - 1, 2), "height": round(size, 2)}
                parts.append(tag("rect", says, class_=name, **box))
    parts += [_upright(over, mark) for mark in marks]
    ends = (
        _span(over, 0) if over.below else short(over.start),
        _span(over, _BINS - 1) if over.above else short(over.end),
    )
    return _framed(over, parts, highest, "histogram", ends)


def survival(over: Axis, points: np.ndarray, lines: Sequence[Line]) -> Markup:
    """A falling line for each lower bound, a rising one for each upper; a dot where the bound is now.

    Where lines run on top of each other the first ones are wider, so that each is seen.

    Args:
        points: float64 [K], where the lines are counted.
    """
    highest = max(max(int(line.counts.max()) for line in lines), 1)
    across = 1 + over.place(points) * (_WIDTH - 2)
    parts = []
    for line, wider in zip(lines, _wider(lines), strict=True):
        up = _BASE - (_BASE - _TOP) * line.counts / highest
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True))
        side = "lower" if line.mark.lower else "upper"
        width = f"stroke-width:{_STROKE + wider * _WIDER}" if wider else None
        parts.append(_upright(over, line.mark, width))
        parts.append(tag("polyline", points=path, class_=f"line {side} {line.mark.name}", style=width))
        height = round(_BASE - (_BASE - _TOP) * line.now / highest, 1)
        dot = {"cx": _x(over, line.mark.value), "cy": height, "r": 4 + wider * _WIDER / 2}
        says = tag("title", f"{side} bound at {short(line.mark.value)}: {line.now:,} survive")
        parts.append(tag("circle", says, class_=f"dot {line.mark.name}", **dot))
    return _framed(over, parts, highest, "survivors", (short(over.start), short(over.end)))


def _wider(lines: Sequence[Line]) -> list[int]:
    """For each line how many later ones, of other selections, hide a piece of it."""

    def hides(one: Line, other: Line) -> bool:
        same = one.counts == other.counts
        return one.mark.name != other.mark.name and bool((same[1:] & same[:-1]).any())

    return [sum(hides(line, later) for later in lines[at + 1 :]) for at, line in enumerate(lines)]


def _framed(over: Axis, parts: Sequence[Markup], highest: int, label: str, ends: tuple[str, str]) -> Markup:
    rest = [
        tag("line", x1=0, y1=_BASE, x2=_WIDTH, y2=_BASE, class_="axis"),
        tag("text", f"{highest:,}", x=0, y=_TOP - 6, class_="most"),
    ]
    named = {"start": (0.0, ends[0]), "middle": (0.5, short(over.at(0.5))), "end": (1.0, ends[1])}
    for anchor, (share, text) in named.items():
        rest.append(tag("text", text, x=share * _WIDTH, y=_HEIGHT - 6, text_anchor=anchor))
    shape = {"viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "class_": "chart", "aria_label": label}
    return tag("svg", [*parts, *rest], **shape)


def _span(over: Axis, index: int) -> str:
    """The values that a bar holds."""
    start, end = short(over.at(index / _BINS)), short(over.at((index + 1) / _BINS))
    if index == 0 and over.below:
        return f"≤ {end}"
    return f"≥ {start}" if index == _BINS - 1 and over.above else f"{start} to {end}"


def _counted(over: Axis, values: np.ndarray) -> np.ndarray:
    bins = np.minimum((over.place(values) * _BINS).astype(int), _BINS - 1)
    return np.bincount(bins, minlength=_BINS)


def _x(over: Axis, value: float) -> float:
    # A line at the edge stays in the picture.
    return round(1 + float(over.place(np.array([value]))[0]) * (_WIDTH - 2), 2)


def _shades(over: Axis, marks: Sequence[Mark]) -> list[Markup]:
    """What lies outside the tightest bounds."""
    lower = [_x(over, mark.value) for mark in marks if mark.lower and mark.name == "bound"]
    upper = [_x(over, mark.value) for mark in marks if not mark.lower and mark.name == "bound"]
    spans = ([(0.0, max(lower))] if lower else []) + ([(min(upper), float(_WIDTH))] if upper else [])
    size = {"y": _TOP, "height": _BASE - _TOP}
    return [tag("rect", x=start, width=round(end - start, 2), class_="out", **size) for start, end in spans]


def _upright(over: Axis, mark: Mark, style: str | None = None) -> Markup:
    x = _x(over, mark.value)
    return tag("line", x1=x, y1=_TOP - 4, x2=x, y2=_BASE, class_=f"mark {mark.name}", style=style)


def colour(number: int) -> str:
    """The class of report.css that tells the first few of several selections apart."""
    return f"s{number % _SELECTIONS}"


def short(value: float) -> str:
    """A number as briefly as it can be read."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
