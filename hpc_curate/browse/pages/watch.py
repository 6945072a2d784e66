"""Twelve at a time: a sample that stays the same under paging, filtered and ordered by any column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st

from hpc_curate import search
from hpc_curate.browse import choosing
from hpc_curate.browse.catalogue import Catalogue
from hpc_curate.browse.choosing import Choice
from hpc_curate.browse.opened import current
from hpc_curate.browse.pages import detail, filters, judging, looks, searching, tiles
from hpc_curate.browse.pages.tiles import Shelf, Tile
from hpc_curate.errors import ConfigError
from hpc_curate.plural import counted

_COLUMNS, _PAGE = 4, 12
_LIKE, _WORDS, _AT = "like", "search_words", "page_number"


def page() -> None:
    """Everything, or what is like a clip, or like words."""
    looks.header()
    try:
        catalogue = current().catalogue()
    except ConfigError as error:
        st.text(str(error))
        return
    found = _search()
    table = catalogue.rows if found is None else _ranked(catalogue.rows, found)
    choice = filters.sidebar(table, in_order=found is not None)
    try:
        passing = choosing.matching(table, choice)
    except ConfigError as error:
        st.text(str(error))
        return
    rows = passing[: choice.samples] if found is not None else choosing.drawn(table, passing, choice)
    _summary(table, passing, rows, catalogue.total)
    if not len(rows):
        st.info("Nothing is like that.")
        return
    first = _pager(len(rows))
    _grid(catalogue, table.take(pa.array(rows[first : first + _PAGE])).to_pylist(), choice)
    detail.show(catalogue)


def _grid(catalogue: Catalogue, rows: Sequence[dict[str, Any]], choice: Choice) -> None:
    column = "similarity" if rows and "similarity" in rows[0] else choice.column
    verdicts = judging.latest([row["id"] for row in rows])
    shown = [
        Tile(row["id"], looks.title(row), looks.note(row, column), row.get("state") or "", verdicts.get(row["id"], ""))
        for row in rows
    ]
    shelf = Shelf("grid", _COLUMNS, opened=detail.open_at, judged=judging.give)
    tiles.show(catalogue, shown, shelf)


def _summary(table: pa.Table, passing: np.ndarray, rows: np.ndarray, total: int) -> None:
    said = f"{counted(len(rows), 'sample')} of {len(passing):,} that match"
    if len(passing) < total:
        said += f", of {total:,} in all"
    if "state" in table.column_names:
        states = table["state"].take(pa.array(passing)).value_counts().to_pylist()
        said += "  ·  " + "  ".join(f"{one['counts']:,} {one['values']}" for one in states if one["values"])
    st.text(said)


def _pager(count: int) -> int:
    """The first row of the page that is shown."""
    pages = -(-count // _PAGE)
    at = min(int(st.session_state.get(_AT, 0)), pages - 1)
    with st.container(horizontal=True, vertical_alignment="center", key="pager"):
        st.button("Previous", icon=":material/chevron_left:", disabled=at == 0, on_click=_turn, args=(at - 1,))
        st.text(f"page {at + 1} of {pages}")
        st.button("Next", icon=":material/chevron_right:", disabled=at + 1 == pages, on_click=_turn, args=(at + 1,))
    return at * _PAGE


def _turn(to: int) -> None:
    st.session_state[_AT] = to


def _search() -> list[tuple[str, float]] | None:
    """Ids and similarities, best first, if something was searched for."""
    plan = current().collection.plan
    if plan is None or "embedding" not in plan.writers:
        return None
    words = ""
    if search.knows_words(plan):
        hint = "a red car at night"
        words = st.sidebar.text_input("Search by words", key=_WORDS, icon=":material/search:", placeholder=hint)
    else:
        st.sidebar.caption("This run's embeddings know no words; a clip's title leads to: Clips that look like this.")
    like = st.session_state.get(_LIKE)
    try:
        if words:
            return searching.by_words(plan, plan.hash, words)
        if not like:
            return None
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(f"Clips that look like {like}")
            st.button("Everything again", icon=":material/close:", on_click=_forget)
        return searching.by_likeness(plan, plan.hash, like)
    except ConfigError as error:
        st.sidebar.text(str(error))
        return None


def _forget() -> None:
    st.session_state.pop(_LIKE, None)


def _ranked(table: pa.Table, found: Sequence[tuple[str, float]]) -> pa.Table:
    """The rows that were found, best first, with their similarity."""
    at = {clip: row for row, clip in enumerate(table["id"].to_pylist())}
    there = [(at[clip], similarity) for clip, similarity in found if clip in at]
    rows = table.take(pa.array([row for row, _ in there], pa.int64()))
    return rows.append_column("similarity", pa.array([similarity for _, similarity in there], pa.float64()))
