"""What would be kept if a threshold lay elsewhere, counted while it moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from hpc_curate.browse import choosing, selecting
from hpc_curate.browse.opened import current
from hpc_curate.browse.pages import filters, judging, looks, tiles
from hpc_curate.browse.pages.tiles import Shelf, Tile
from hpc_curate.browse.selecting import Outcome, Selection, Settings
from hpc_curate.clips import rules

_BOUNDS = ("min", "max")
_SHOWN = 8


def page() -> None:
    """A slider for each bound; what it comes to; and some of the clips that change sides."""
    looks.header()
    catalogue = current().catalogue()
    selection = _selection(catalogue.rows)
    before = selection.outcome(selection.rules)
    with st.sidebar:
        moved = _sliders(selection)
    after = selection.outcome(moved)
    _counts(before, after, len(before.states), selection)
    said = selecting.overrides(selection.rules, moved)
    if said and selection.rules:
        st.code("hpc-curate run … " + " ".join(said), language="bash", wrap_lines=True)
    left, right = st.columns(2)
    for place, heading, state in ((left, "Would be lost", "rejected"), (right, "Would come back", "kept")):
        changed = [clip for clip, now in after.states.items() if now == state != before.states.get(clip)]
        with place:
            st.subheader(heading, anchor=False)
            _show(changed, f"changed {state}")
    st.subheader("Why clips are not kept", anchor=False)
    reasons = sorted({*before.reasons, *after.reasons}, key=lambda reason: -after.reasons.get(reason, 0))
    now, then = ([said.get(reason, 0) for reason in reasons] for said in (after.reasons, before.reasons))
    st.dataframe(pa.table({"first reason": pa.array(reasons, pa.string()), "clips": now, "before": then}))


def _selection(rows: pa.Table) -> Selection:
    """Kept for as long as the same rows are looked at."""
    known = st.session_state.get("selection")
    if known is None or known[0] is not rows:
        known = (rows, selecting.of(current().collection.plan, rows))
        st.session_state["selection"] = known
    selection: Selection = known[1]
    return selection


def _sliders(selection: Selection) -> Settings:
    """The rules as they were moved."""
    kinds = choosing.kinds(selection.clips)
    taken = {rule.get("column", name) for name, rule in selection.rules.items() if rule}
    free = [name for name, kind in kinds.items() if kind == choosing.NUMBERS and name not in taken]
    more = st.multiselect("Thresholds on more columns", free, key="more")
    moved: dict[str, Any] = {}
    for name, rule in {**selection.rules, **{name: {} for name in more}}.items():
        if rule is None:
            continue
        moved[name] = {**rule, **_bounds(name, rule, selection)}
    return {name: rule for name, rule in moved.items() if rule}


def _bounds(name: str, rule: Mapping[str, Any], selection: Selection) -> dict[str, float]:
    """The bounds of a rule that were moved; of a column that had none, those that were set."""
    given = [key for key in _BOUNDS if rule.get(key) is not None]
    for key in ("min_percentile", "max_percentile"):
        if rule.get(key) is not None:
            return {key: st.slider(f"{filters.label(name)}, {key}", 0.0, 100.0, float(rule[key]), key=f"{key} {name}")}
    if rule and not given:
        return {}  # words: nothing to move
    values = rules.numbers(rules.column(selection.clips, rule.get("column", name)))
    if values is None or not np.isfinite(values).any():
        return {}
    known = values[np.isfinite(values)]
    ends = [float(known.min()), float(known.max()), *(float(rule[key]) for key in given)]
    low, high = min(ends), max(ends)
    if low == high:
        return {}
    return _moved(name, rule, (low, high))


def _moved(name: str, rule: Mapping[str, Any], ends: tuple[float, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    step = (ends[1] - ends[0]) / 500
    for key in [key for key in _BOUNDS if rule.get(key) is not None] or _BOUNDS:
        start = float(rule[key]) if rule.get(key) is not None else ends[_BOUNDS.index(key)]
        text = f"{filters.label(name)}, at {'least' if key == 'min' else 'most'}"
        given = st.slider(text, *ends, start, step=step, key=f"{key} {name}", format="%.4g")
        # A slider has steps, and would move a bound that nobody has touched.
        if abs(given - start) > step / 2:
            found[key] = float(f"{given:.4g}")
    return found


def _counts(before: Outcome, after: Outcome, clips: int, selection: Selection) -> None:
    columns = st.columns(3)
    columns[0].metric("Clips" if selection.rules else "Rows", f"{clips:,}")
    columns[1].metric("Kept as it is", f"{before.kept:,}")
    change = after.kept - before.kept
    columns[2].metric("Kept with these thresholds", f"{after.kept:,}", f"{change:+,}" if change else None)
    if selection.exact:
        st.caption(
            "As select would do it: rules first, then the best of each group of near-duplicates. "
            "What the gate rejected stays rejected."
        )
    else:
        st.caption("Rules alone: nobody has looked for near-duplicates here yet.")


def _show(clips: list[str], key: str) -> None:
    if not clips:
        st.caption("None.")
        return
    st.caption(f"{len(clips):,}")
    catalogue = current().catalogue()
    rows = catalogue.rows.filter(pc.is_in(catalogue.rows["id"], pa.array(clips[:_SHOWN]))).to_pylist()
    verdicts = judging.latest([row["id"] for row in rows])
    shown = [Tile(row["id"], looks.title(row), looks.note(row), "", verdicts.get(row["id"], "")) for row in rows]
    tiles.show(catalogue, shown, Shelf(key, 2, judged=judging.give))
