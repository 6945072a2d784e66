"""Tiles of playing videos: the same on every page. What is shown of a row is told to the browser as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from hpc_curate.browse import routes
from hpc_curate.browse.catalogue import Catalogue
from hpc_curate.errors import BadInput

_HERE = Path(__file__).parent
_GRID = st.components.v2.component(
    "hpc_curate_tiles",
    html='<div class="look-tiles"></div>',
    css=(_HERE / "tiles.css").read_text(),
    js=(_HERE / "tiles.js").read_text(),
    isolate_styles=False,
)


@dataclass(frozen=True)
class Tile:
    """A row that is shown."""

    id: str
    title: str
    note: str = ""
    state: str = ""  # kept, rejected, failed, pending, or not said
    verdict: str = ""  # accept or reject, if somebody said so


@dataclass(frozen=True)
class Shelf:
    """How tiles are shown, and who is told what happens to them."""

    key: str
    columns: int = 4
    controls: bool = False
    opened: Callable[[str], None] | None = None  # with the id of a tile
    judged: Callable[[str, str], None] | None = None  # with its id and accept or reject


def show(catalogue: Catalogue, tiles: Sequence[Tile], shelf: Shelf) -> None:
    """Play them side by side."""

    def told() -> None:
        said = st.session_state[shelf.key]
        if shelf.opened and said.get("opened"):
            shelf.opened(said["opened"])
        if shelf.judged and said.get("judged"):
            shelf.judged(said["judged"]["id"], said["judged"]["verdict"])

    data = {"columns": shelf.columns, "tiles": [_told(catalogue, tile, shelf) for tile in tiles]}
    _GRID(key=shelf.key, data=data, on_opened_change=told, on_judged_change=told)


def _told(catalogue: Catalogue, tile: Tile, shelf: Shelf) -> dict[str, Any]:
    """What the browser needs to know of a tile."""
    sources: list[tuple[str, str]] = []
    start = end = absent = None
    try:
        media = catalogue.media(tile.id)
    except BadInput as error:
        absent = str(error)  # it has no bytes; its picture may be there
    else:
        start, end = media.start_s, media.end_s
        sources = [(f"{routes.MEDIA}/{tile.id}", media.content_type), (f"{routes.PLAYABLE}/{tile.id}", "video/mp4")]
    return {
        "id": tile.id,
        "title": tile.title,
        "note": tile.note,
        "state": tile.state,
        "verdict": tile.verdict,
        "start": start,
        "end": end,
        "sources": sources,
        "absent": absent,  # why there are none
        "poster": f"{routes.POSTER}/{tile.id}",
        "download": f"{routes.MEDIA}/{tile.id}",
        "controls": shelf.controls,
        "opens": shelf.opened is not None,
        "verdicts": shelf.judged is not None,
    }
