"""What all pages of the report share: one file without script that fetches nothing, tiles, and pictures of clips."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc_curate.report.markup import Child, Markup, tag

_STYLE = Path(__file__).with_name("report.css")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_EXTENSION = 5  # characters, at most

Pictures = Mapping[str, bytes]  # JPEG by clip_id; a clip without one has no picture


@dataclass(frozen=True)
class Sample:
    """A clip to look at."""

    clip_id: str
    name: str
    time: str
    note: str  # below the picture
    more: str = ""  # when the pointer rests on it


def document(title: str, body: Sequence[Child], links: Mapping[str, str] | None = None) -> str:
    """A whole file.

    Args:
        links: other pages of the same folder, by what is written on them.
    """
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # A second lock on the door: even a tag that slipped through could load and run nothing.
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("style", Markup(_STYLE.read_text())),
    ]
    ways = tag("nav", [tag("a", text, href=file) for text, file in links.items()]) if links else None
    main = tag("main", ways, tag("h1", title), list(body))
    return "<!doctype html>\n" + tag("html", tag("head", head), tag("body", main), lang="en")


def section(heading: str, content: Child, explained: Child = None) -> Markup | None:
    """A part of a page, unless it is empty."""
    if not content:
        return None
    return tag("section", tag("h2", heading), tag("p", explained, class_="soft") if explained else None, content)


def tiles(numbers: Sequence[tuple[str, str]]) -> Markup:
    """Large numbers with what they count."""
    return tag("div", [tag("div", tag("b", value), tag("span", label)) for value, label in numbers], class_="tiles")


def gallery(samples: Sequence[Sample], pictures: Pictures) -> Markup | None:
    """Clips side by side."""
    return tag("div", [picture(sample, pictures) for sample in samples], class_="gallery") if samples else None


def couples(samples: Sequence[Sample], pictures: Pictures) -> Markup | None:
    """Clips two by two."""
    shown = [picture(sample, pictures) for sample in samples]
    boxes = [tag("div", list(two), class_="couple") for two in zip(shown[::2], shown[1::2], strict=True)]
    return tag("div", boxes, class_="couples") if boxes else None


def picture(sample: Sample, pictures: Pictures) -> Markup:
    """A clip with its name, its time and a note."""
    jpeg = pictures.get(sample.clip_id)
    if jpeg is None:
        shown = tag("div", "no picture", class_="blank")
    else:
        data = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
        shown = tag("img", src=data, alt=f"{sample.name} {sample.time}", loading="lazy")
    words = [tag("b", sample.name), tag("span", sample.time), tag("span", sample.note)]
    title = "  ".join(text for text in (sample.name, sample.time, sample.note, sample.more) if text)
    return tag("figure", shown, tag("figcaption", words), title=title)


def file_name(name: str) -> Child:
    """A name that may be divided where there is no room, but not within its extension."""
    stem, dot, extension = name.rpartition(".")
    return [stem, tag("span", dot + extension, class_="whole")] if stem and len(extension) <= _EXTENSION else name


def count(value: int | None) -> str:
    """A whole number, or nothing."""
    return "" if value is None else f"{value:,}"
