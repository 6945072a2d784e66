"""Which rows are looked at: those that rules and words let pass, drawn by a seed or in the order of a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import rules
from hpc_curate.clips.rules import Rule
from hpc_curate.preview import sample

_FEW = 30  # values of a column that can be chosen from a list
_NEVER = {"id", "clip_id", "video_id"}
_LONG = {"name", "uri", "caption"}  # nobody wants these from a list, however few they are
NUMBERS, WORDS, TEXT = "numbers", "words", "text"


@dataclass(frozen=True)
class Choice:
    """What somebody wants to see."""

    rules: Mapping[str, Rule] = field(default_factory=dict)  # as those of select
    texts: Mapping[str, str] = field(default_factory=dict)  # by column, what must be somewhere in it; any case
    column: str | None = None  # the order; None: by chance
    descending: bool = True
    samples: int = 36
    seed: int = 0


def kinds(table: pa.Table) -> dict[str, str]:
    """The columns that one can choose by, and how: by bounds of numbers, by a few words, or by a part of a text."""
    found = {name: _kind(table[name]) for name in table.column_names if name not in _NEVER}
    return {name: TEXT if name in _LONG else kind for name, kind in found.items() if kind}


def matching(table: pa.Table, choice: Choice) -> np.ndarray:
    """int64 [N], the rows that pass, in the order of the table.

    Raises:
        ConfigError: a rule speaks of a column that is not there.
    """
    needed = rules.columns(rule.column for rule in choice.rules.values())
    asked = pa.table({"clip_id": table["id"], **{name: rules.column(table, name) for name in needed}})
    passing = rules.apply(choice.rules, asked)["keep"].to_numpy().copy()
    for name, text in choice.texts.items():
        passing &= _holds(table[name], text)
    return np.flatnonzero(passing)


def drawn(table: pa.Table, rows: np.ndarray, choice: Choice) -> np.ndarray:
    """int64 [up to samples]: a sample of the rows that is the same for the same seed, or the first ones by a column."""
    if choice.column is None:
        return rows[sample.some(len(rows), choice.samples, choice.seed)]
    keys = pa.table({"value": _sortable(rules.column(table, choice.column)), "id": table["id"]}).take(pa.array(rows))
    order = "descending" if choice.descending else "ascending"
    ranked = pc.sort_indices(keys, sort_keys=[("value", order), ("id", "ascending")])  # no value: last
    return rows[ranked.to_numpy()[: choice.samples]]


def words(values: pa.ChunkedArray) -> list[str | bool]:
    """The values of a column of few."""
    return sorted(pc.unique(pc.drop_null(values)).to_pylist(), key=str)


def _kind(values: pa.ChunkedArray) -> str | None:
    kind = values.type
    if values.null_count == len(values):
        return None
    if pa.types.is_boolean(kind):
        return WORDS
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return NUMBERS
    if pa.types.is_string(kind):
        return WORDS if pc.count_distinct(values).as_py() <= _FEW else TEXT
    return TEXT if pa.types.is_list(kind) and pa.types.is_string(kind.value_type) else None


def _holds(values: pa.ChunkedArray, text: str) -> np.ndarray:
    """bool [N]"""
    if pa.types.is_list(values.type):
        values = pc.binary_join(values, "\n")
    found = pc.match_substring(pc.cast(values, pa.string()), text, ignore_case=True)
    return pc.fill_null(found, False).to_numpy()


def _sortable(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join(values, " ") if pa.types.is_list(values.type) else values
