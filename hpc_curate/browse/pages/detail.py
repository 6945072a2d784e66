"""All about one row: it plays with controls, every column is told, and one can say what one thinks of it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from hpc_curate.browse.catalogue import Catalogue
from hpc_curate.browse.opened import current
from hpc_curate.browse.pages import judging, looks, tiles
from hpc_curate.browse.pages.tiles import Shelf, Tile

_OPENED = "detail"
_WORDS = ("caption", "captions")
_ABOVE = {*_WORDS, "id", "name", "clip_id"}


def open_at(row_id: str) -> None:
    """Have the page show a row until its dialog is closed; the page may be drawn anew any number of times."""
    st.session_state[_OPENED] = row_id


def close() -> None:
    """The dialog is not to be shown when the page is drawn next."""
    st.session_state.pop(_OPENED, None)


def show(catalogue: Catalogue) -> None:
    """The dialog over the page, if a row was opened."""
    if _OPENED in st.session_state:
        _dialog(catalogue, st.session_state[_OPENED])


@st.dialog("A closer look", width="large", on_dismiss=close)
def _dialog(catalogue: Catalogue, row_id: str) -> None:
    rows = catalogue.rows.filter(pc.equal(catalogue.rows["id"], row_id)).to_pylist()
    if not rows:
        st.info("It is not there any more.")
        return
    row = rows[0]
    left, right = st.columns([3, 2])
    with left:
        big = Tile(row["id"], row["name"], looks.note(row), row.get("state") or "")
        tiles.show(catalogue, [big], Shelf("big", 1, True))
        for caption in _captions(row):
            st.text(caption)
    with right:
        judging.form(row["id"], close)
        plan = current().collection.plan
        if plan is not None and "embedding" in plan.writers and row.get("what") != "video":
            _search_button(row["id"])
    known = {name: looks.value(given) for name, given in row.items() if name not in _ABOVE and given is not None}
    st.dataframe(pa.table({"column": list(known), "value": list(known.values())}), width="stretch", height=320)
    st.text(row["id"])


def _captions(row: dict[str, Any]) -> list[str]:
    said = [row.get("caption"), *(row.get("captions") or [])]
    return list(dict.fromkeys(str(one) for one in said if one))


def _search_button(row_id: str) -> None:
    if st.button("Clips that look like this", icon=":material/image_search:"):
        st.session_state["like"] = row_id
        st.session_state["page_number"] = 0
        close()
        st.rerun()  # of the page
