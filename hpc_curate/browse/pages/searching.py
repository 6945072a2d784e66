"""Clips by words or by likeness: `hpc-curate search`, remembered while one pages through what it found."""

from __future__ import annotations

import streamlit as st

from hpc_curate import search
from hpc_curate.plan import Plan

_TOP = 1000


@st.cache_data(max_entries=20, show_spinner="searching")
def by_words(_plan: Plan, plan_hash: str, words: str) -> list[tuple[str, float]]:
    """Ids and similarities, best first.

    Raises:
        ConfigError: the model that embedded the clips knows no words.
    """
    return search.nearest_clips(_plan, search.of_text(_plan, words), _TOP)


@st.cache_data(max_entries=20, show_spinner="searching")
def by_likeness(_plan: Plan, plan_hash: str, clip: str) -> list[tuple[str, float]]:
    """Ids and similarities, best first.

    Raises:
        ConfigError: the clip has no embedding.
    """
    return search.nearest_clips(_plan, search.of_clip(_plan, clip), _TOP)
