"""Saying what one thinks of clips, and what one has said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from hpc_curate.browse.opened import current
from hpc_curate.learning.verdicts import ACCEPT, REJECT, Verdict

_WORDS = (ACCEPT, REJECT)


def latest(ids: Sequence[str]) -> dict[str, str]:
    """The verdicts on some rows, as far as there are any; those of audits are left to the audit."""
    said = _said(ids)
    return {row["clip_id"]: row["verdict"] for row in said if row["verdict"]}


def give(row_id: str, verdict: str) -> None:
    """Write a verdict down; the same one again takes it back. Tags and note stay."""
    known = _known(row_id)
    word = None if known["verdict"] == verdict else verdict
    _write(row_id, word, known["tags"], known["note"])


def form(row_id: str, done: Callable[[], None]) -> None:
    """Verdict, tags and note of a row; `done` is called when they are saved."""
    known = _known(row_id)
    with st.form(f"form {row_id}", border=False, enter_to_submit=False):  # Enter ends a tag
        word = st.segmented_control("Verdict", _WORDS, default=known["verdict"])
        tags = st.multiselect(
            "Tags", sorted({*_every_tag(), *known["tags"]}), default=known["tags"], accept_new_options=True
        )
        note = st.text_area("Note", known["note"], height=80)
        if st.form_submit_button("Save", type="primary"):
            _write(row_id, word, tags, note)
            done()
            st.rerun()


def _known(row_id: str) -> dict[str, Any]:
    said = _said([row_id])
    row = said[0] if said else {"verdict": None, "tags": [], "note": ""}
    return {**row, "tags": row["tags"] or [], "note": row["note"] or ""}


def _said(ids: Sequence[str]) -> list[dict[str, Any]]:
    table = current().verdicts.read()
    mine = pc.and_(pc.is_in(table["clip_id"], pa.array(ids, pa.string())), pc.invert(table["audit"]))
    rows: list[dict[str, Any]] = table.filter(mine).to_pylist()
    return rows


def _every_tag() -> list[str]:
    tags: list[str] = pc.unique(pc.list_flatten(current().verdicts.read()["tags"])).to_pylist()
    return tags


def _write(row_id: str, word: Any, tags: Sequence[str], note: str) -> None:
    current().verdicts.add([Verdict(row_id, word, tuple(tags), note)])
