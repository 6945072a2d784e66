"""The side of the page where one says what one wants to see."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from hpc_curate.browse import choosing
from hpc_curate.browse.choosing import Choice
from hpc_curate.browse.opened import current
from hpc_curate.clips import rules
from hpc_curate.clips.rules import Rule

_CHANCE = "by chance"
_FIRST = ("state", "reason", "name", "caption")  # filters that are there without being asked for


def sidebar(table: pa.Table, in_order: bool) -> Choice:
    """How many, which and in what order.

    Args:
        in_order: the rows have an order already, from a search.
    """
    opened = current()
    kinds = choosing.kinds(table)
    with st.sidebar:
        left, right = st.columns(2)
        samples = left.number_input("Sample size", 1, 10_000, opened.samples, key="samples")
        seed = right.number_input("Seed", 0, 2**31 - 1, opened.seed, key="seed", disabled=in_order)
        column, descending = (None, True) if in_order else _order(list(kinds))
        chosen = st.multiselect(
            "Filter by", list(kinds), default=[name for name in _FIRST if name in kinds], key="filters"
        )
        found, texts = {}, {}
        for name in chosen:
            if kinds[name] == choosing.TEXT:
                if text := st.text_input(f"{label(name)} contains", key=f"text {name}"):
                    texts[name] = text
            elif rule := (_range if kinds[name] == choosing.NUMBERS else _words)(name, table[name]):
                found[name] = rule
    return Choice(found, texts, column, descending, int(samples), int(seed))


def _order(columns: list[str]) -> tuple[str | None, bool]:
    given = st.selectbox("Order", [_CHANCE, *columns], key="order")
    if given == _CHANCE:
        return None, True
    first = st.segmented_control(
        "First", ["highest", "lowest"], default="highest", key="first", label_visibility="collapsed"
    )
    return given, first != "lowest"


def _range(name: str, values: pa.ChunkedArray) -> Rule | None:
    numbers = rules.numbers(values)
    assert numbers is not None  # its kind says so
    ends = pc.min_max(pa.array(numbers[numbers == numbers]))
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is None or low == high:
        return None
    given = st.slider(label(name), float(low), float(high), (float(low), float(high)), key=f"range {name}")
    return None if given == (low, high) else Rule(name, min=given[0], max=given[1])


def _words(name: str, values: pa.ChunkedArray) -> Rule | None:
    given: list[Any] = st.multiselect(label(name), choosing.words(values), key=f"words {name}", placeholder="all")
    return Rule(name, allowed=given) if given else None


def label(name: str) -> str:
    """A column's name as Streamlit, which takes labels for Markdown, shows it as it is written."""
    return "".join(f"\\{sign}" if sign in "\\`*[]<>$:~|&" else sign for sign in name)
