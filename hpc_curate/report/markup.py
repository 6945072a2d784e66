"""HTML by function calls: whatever is not markup already is escaped, so that a file's name stays a name."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

_EMPTY = {"meta", "img", "line", "rect", "circle", "polyline", "br", "input", "path"}


class Markup(str):
    """Text that is HTML already."""


Child = Any  # Markup, a list of them, None for nothing, or anything with a text


def tag(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """One element. In the names of attributes a trailing `_` is dropped and others become `-`; None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not children:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one behind the other."""
    return Markup("".join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, list):
        return join(child)
    return html.escape(_visible(str(child)))


def _visible(text: str) -> str:
    """Control characters and those that turn the direction of writing are shown and have no effect."""
    return "".join(c if c.isprintable() or c in "\n " else f"\\u{ord(c):04x}" for c in text)


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], texts: int = 1) -> Markup:
    """A table whose first `texts` columns hold words; the others hold numbers and stand to the right."""

    def cells(kind: str, row: Sequence[Child]) -> Markup:
        return tag("tr", [tag(kind, cell, class_=None if i < texts else "n") for i, cell in enumerate(row)])

    body = tag("tbody", [cells("td", row) for row in rows])
    return tag("div", tag("table", tag("thead", cells("th", head)), body), class_="scroll")
