"""How values and pages look."""

from __future__ import annotations

from typing import Any

import streamlit as st

from hpc_curate.browse.catalogue import Progress
from hpc_curate.browse.opened import current
from hpc_curate.plural import counted
from hpc_curate.report.charts import short

_CSS = """
.stMainBlockContainer { padding: 3.6rem 2rem 3rem; max-width: 1680px; }
@media (max-width: 700px) { .stMainBlockContainer { padding: 3.6rem .8rem 2rem; } }
[data-testid="stText"] { font-family: var(--st-font, inherit); }
[data-testid="stMetricValue"] { font-size: 1.7rem; font-variant-numeric: tabular-nums; }
.st-key-of [data-testid="stText"] { opacity: .66; overflow-wrap: anywhere; }
"""


def dress() -> None:
    """What all pages share; no data comes near it."""
    st.html(f"<style>{_CSS}</style>")


def header() -> None:
    """What is looked at, how far its listing is, and a button to look again."""
    shown = current()
    with st.container(horizontal=True, vertical_alignment="center", key="of"):
        st.text(shown.collection.of)
        if plan := shown.collection.plan:
            st.caption(f"plan {plan.hash}")
        if st.button("Look again", icon=":material/refresh:", type="tertiary", help="for what has come since"):
            shown.look_again()
            st.rerun()
    if not shown.collection.progress().done:
        _listing()


@st.fragment(run_every=1.0)
def _listing() -> None:
    progress: Progress = current().collection.progress()
    if progress.done:
        st.rerun()
    st.progress(0.0, text=f"listing: {counted(progress.found, 'file')} so far")


def value(given: Any) -> str:
    """A value as a person reads it, in one line."""
    if given is None:
        return "–"
    if isinstance(given, bool):
        return "yes" if given else "no"
    if isinstance(given, float):
        return short(given)
    if isinstance(given, int):
        return f"{given:,}"
    if isinstance(given, list):
        return ", ".join(value(one) for one in given)
    return str(given)


def note(row: dict[str, Any], column: str | None = None) -> str:
    """The second line of a tile: what it was ordered by, where it is, why it is not kept."""
    parts = []
    if column:
        parts.append(f"{column} {value(row.get(column))}")
    span = [row.get("start_s"), row.get("end_s")]  # of a tar whatever its json says
    if all(isinstance(time_s, int | float) for time_s in span):
        parts.append(f"{span[0]:.1f}–{span[1]:.1f} s")
    elif row.get("bytes") is not None:
        parts.append(f"{row['bytes'] / 1e6:,.1f} MB")
    said = row.get("reason") or row.get("error")
    return " · ".join([*parts, str(said)] if said else parts)


def title(row: dict[str, Any]) -> str:
    """The first line of a tile: the file, without the folders that it is in; of our own sample the file it is from."""
    of_clip = row.get("clip_id") and row.get("source")  # as pack writes them
    name = str(of_clip or row["name"])
    return name.rpartition("/")[2] or name
