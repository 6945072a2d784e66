"""A blind audit: clips that chance chose, nothing told of them; the verdict first, then how many have defects."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from hpc_curate.browse.opened import current
from hpc_curate.browse.pages import looks, tiles
from hpc_curate.browse.pages.tiles import Shelf, Tile
from hpc_curate.learning.verdicts import ACCEPT, REJECT, Verdict, Word, defect_rate
from hpc_curate.run_folder.accounting import KEPT

_EVERYTHING = "everything"


def page() -> None:
    """One clip at a time."""
    looks.header()
    rows = current().catalogue().rows
    with st.sidebar:
        of = _EVERYTHING
        if "state" in rows.column_names and pc.any(pc.equal(rows["state"], KEPT)).as_py():
            of = st.radio("Audit", [KEPT, _EVERYTHING], help="A defect rate speaks of what was audited.")
        seed = int(st.number_input("Seed", 0, 2**31 - 1, current().seed, key="audit_seed"))
    ids = rows["id"] if of == _EVERYTHING else rows["id"].filter(pc.equal(rows["state"], KEPT))
    given = _audits(ids)
    open_ids = _open(ids, given, seed)
    if not open_ids:
        st.info("Everything has been audited." if len(ids) else "There is nothing to audit.")
    else:
        _ask(open_ids[0])
    _result(given, of)


def _ask(row_id: str) -> None:
    """The clip alone, and two buttons."""
    left, right = st.columns([3, 1])
    with left:
        # Not even its name: it may say what the clip was chosen for.
        tiles.show(current().catalogue(), [Tile(row_id, "Watch it, then say")], Shelf("audited", 1, True))
    with right:
        note = st.text_input("Note, if you like", key=f"audit note {row_id}")
        tags = st.multiselect("Tags", [], key=f"audit tags {row_id}", accept_new_options=True)
        for word, said, icon in ((ACCEPT, "Good", ":material/check:"), (REJECT, "Has a defect", ":material/close:")):
            st.button(
                said, icon=icon, width="stretch", key=word, on_click=_give, args=(row_id, word, tuple(tags), note)
            )


def _give(row_id: str, word: Word, tags: tuple[str, ...], note: str) -> None:
    current().verdicts.add([Verdict(row_id, word, tags, note, audit=True)])


def _audits(ids: pa.ChunkedArray) -> pa.Table:
    """What was said in audits of these rows."""
    table = current().verdicts.read()
    return table.filter(pc.and_(table["audit"], pc.is_in(table["clip_id"], ids.combine_chunks())))


def _open(ids: pa.ChunkedArray, given: pa.Table, seed: int) -> list[str]:
    """The next rows that nobody has audited, in an order that the seed alone decides."""
    order = np.random.default_rng(seed).permutation(len(ids))
    shuffled = ids.take(pa.array(order))
    left = shuffled.filter(pc.invert(pc.is_in(shuffled, given["clip_id"].combine_chunks())))
    first: list[str] = left.slice(0, 1).to_pylist()
    return first


def _result(given: pa.Table, of: str) -> None:
    found = defect_rate(given)
    if found is None:
        st.caption("The defect rate appears with the first verdict.")
        return
    columns = st.columns(3)
    columns[0].metric("Audited", f"{found.judged:,}", help=f"of {of}")
    columns[1].metric("Defect rate", f"{found.rate:.1%}")
    columns[2].metric("95 % confidence", f"{found.low:.1%} to {found.high:.1%}")
