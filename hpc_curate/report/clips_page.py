"""The page of clips: the map, what is kept, what is a duplicate of what, and what was thrown away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpc_curate.report.choosing import Shown
from hpc_curate.report.document import Pictures, Sample, document, gallery, picture, section
from hpc_curate.report.markup import Child, Markup, join, tag

_KEPT = "The largest clusters first, of each a few clips by chance. A cluster is a concept without a name."
_GROUPS = (
    "The largest groups first. To the left the clip that was kept, beside it some of those that were dropped for it, "
    "with their likeness to it: a cosine of embeddings, an equal hash, or a share of equal bits."
)
_REJECTED = "The most frequent reasons first, of each a few clips by chance. A clip counts for its first reason."


@dataclass(frozen=True)
class ClipsPage:
    """What the page tells, in its order."""

    map: Markup | None
    mapped: str  # what the map shows
    shown: Shown
    links: Mapping[str, str]


def render(page: ClipsPage, pictures: Pictures) -> str:
    """The whole file."""
    shown = page.shown
    parts = [
        section("Map", page.map, page.mapped),
        section("Kept", _sheets(shown.kept, pictures), _KEPT if len(shown.kept) > 1 else None),
        section("Duplicates, group by group", _groups(shown.groups, pictures), _GROUPS),
        section("Rejected", _sheets(shown.rejected, pictures), _REJECTED),
        section("Failed", _sheets(shown.failed, pictures)),
    ]
    empty = tag("p", "There are no clips yet.", class_="soft") if not any(parts) else None
    return document("Clips", [*parts, empty], page.links)


def _sheets(parts: Mapping[str, Sequence[Sample]], pictures: Pictures) -> Markup | None:
    sheets: list[Child] = [[tag("h3", heading), gallery(samples, pictures)] for heading, samples in parts.items()]
    return join(sheets) if sheets else None


def _groups(groups: Sequence[Sequence[Sample]], pictures: Pictures) -> Markup | None:
    """A box for each group."""
    boxes = [tag("div", [picture(sample, pictures) for sample in group], class_="group") for group in groups]
    return tag("div", boxes, class_="groups") if boxes else None
