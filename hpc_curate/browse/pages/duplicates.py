"""Groups of near-duplicates side by side: the clip that is kept, and those that it stands for."""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

from hpc_curate.browse import grouping
from hpc_curate.browse.grouping import Member
from hpc_curate.browse.opened import current
from hpc_curate.browse.pages import judging, looks, tiles
from hpc_curate.browse.pages.tiles import Shelf, Tile
from hpc_curate.plural import counted

_PER_PAGE = 3
_MOST = 8  # of a group


def page() -> None:
    """A few groups at a time, the largest first."""
    looks.header()
    plan = current().collection.plan
    assert plan is not None  # the page is there for runs only
    catalogue = current().catalogue()
    found = grouping.edges(plan)
    groups = [] if found is None else grouping.groups(catalogue.rows, found)
    if not groups:
        st.info("dedup is not done yet." if found is None else "No two clips are alike.")
        return
    clips = sum(len(group) for group in groups)
    st.text(f"{counted(len(groups), 'group')} of {counted(clips, 'clip')} that are alike")
    pages = -(-len(groups) // _PER_PAGE)
    at = st.number_input(f"Page, of {pages}", 1, pages, 1, width=160) if pages > 1 else 1
    for number in range((at - 1) * _PER_PAGE, min(at * _PER_PAGE, len(groups))):
        _group(number, groups[number], catalogue.rows)


def _group(number: int, group: list[Member], rows: pa.Table) -> None:
    catalogue = current().catalogue()
    with st.container(border=True):
        more = f", {_MOST} of which are shown" if len(group) > _MOST else ""
        st.text(f"{counted(len(group), 'clip')}{more}")
        shown = rows.take(pa.array([member.row for member in group[:_MOST]])).to_pylist()
        verdicts = judging.latest([row["id"] for row in shown])
        tiled = []
        for member, row in zip(group, shown, strict=False):
            alike = "" if member.similarity is None else f"{member.similarity:.4f} by {member.method} · "
            said = f"{alike}{looks.note(row)}"
            tiled.append(Tile(row["id"], looks.title(row), said, row["state"] or "", verdicts.get(row["id"], "")))
        tiles.show(catalogue, tiled, Shelf(f"group {number}", min(max(len(tiled), 3), 4), judged=judging.give))
