"""What was fitted, as one HTML page: figures from videos that the model had not seen, and whether its numbers hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpc_curate.learning.figures import Bin
from hpc_curate.plural import counted
from hpc_curate.report.document import document, section
from hpc_curate.report.markup import Child, Markup, table, tag

_SIDE, _MARGIN = 320, 34


def render(title: str, figures: Mapping[str, str], bins: Sequence[Bin], weights: Sequence[Sequence[Child]]) -> str:
    """The whole file.

    Args:
        weights: rows of column, what made it, weight, weight of a missing value; none for a probe.
    """
    words = "Each point is a tenth of the clips. On the line, what is predicted is what is true."
    parts = [
        section("Figures, each clip predicted without its own video", table(["", ""], figures.items())),
        section("Reliability", tag("div", plot(bins), style=f"max-width:{_SIDE}px"), words),
    ]
    if weights:
        head = ["column", "made by", "weight of one deviation", "weight where it is missing"]
        parts.append(section("Weights", table(head, weights, texts=2)))
    return document(title, parts)


def plot(bins: Sequence[Bin]) -> Markup:
    """Predicted against observed, with the line on which both are the same, as SVG."""
    ends = [value for each in bins for value in (each.predicted, each.observed)]
    low, high = min([0.0, *ends]), max([1.0, *ends])

    def place(value: float) -> float:
        return round(_MARGIN + (value - low) / (high - low) * (_SIDE - 2 * _MARGIN), 1)

    near, far = place(low), place(high)
    # The vertical axis of a picture points down.
    parts = [
        tag("line", x1=near, y1=_SIDE - near, x2=far, y2=_SIDE - far, class_="bound"),
        tag("line", x1=near, y1=_SIDE - near, x2=far, y2=_SIDE - near, class_="axis"),
        tag("line", x1=near, y1=_SIDE - near, x2=near, y2=_SIDE - far, class_="axis"),
        tag("text", "predicted", x=far, y=_SIDE - 8, text_anchor="end"),
        tag("text", "observed", x=near, y=_MARGIN - 12),
    ]
    for value in (low, high):
        parts.append(tag("text", f"{value:.3g}", x=place(value), y=_SIDE - _MARGIN + 16, text_anchor="middle"))
        parts.append(tag("text", f"{value:.3g}", x=_MARGIN - 6, y=_SIDE - place(value) + 4, text_anchor="end"))
    for each in bins:
        says = tag(
            "title", f"predicted {each.predicted:.3g}, observed {each.observed:.3g}, {counted(each.clips, 'clip')}"
        )
        parts.append(tag("circle", says, cx=place(each.predicted), cy=_SIDE - place(each.observed), r=5, class_="kept"))
    return tag("svg", parts, viewBox=f"0 0 {_SIDE} {_SIDE}", role="img", class_="chart", aria_label="reliability")
