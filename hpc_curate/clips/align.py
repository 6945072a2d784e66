"""Rows of many stages beside each other: by clip_id, never by position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LOOKED_UP = 1 << 18  # ids in a hash table: ten millions would take more memory than all their columns


Texts: TypeAlias = pa.Array | pa.ChunkedArray


def rows_of(ids: Texts, among: Texts, at_once: int = _LOOKED_UP) -> pa.Array | pa.ChunkedArray:
    """int32: for each id where it first stands among others; null where it does not.

    Args:
        at_once: above this number of others they are looked up in parts, so that the hash table stays small.
    """
    if len(among) <= at_once:
        return pc.index_in(ids, value_set=_whole(among))
    found = np.full(len(ids), -1, np.int32)
    for mine, others in _by_letter(ids, among):
        at = pc.index_in(ids.take(pa.array(mine)), value_set=_whole(among.take(pa.array(others))))
        found[mine] = pc.fill_null(pa.array(others, pa.int32()).take(at), -1)
    return pa.array(found, mask=found < 0)


def _by_letter(ids: Texts, among: Texts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """int64: the rows of both that begin with the same letter. Ids begin with a hash, so the parts are alike."""
    first, others = pc.utf8_slice_codeunits(ids, 0, 1), pc.utf8_slice_codeunits(among, 0, 1)
    for letter in pc.unique(others):
        yield np.flatnonzero(pc.equal(first, letter)), np.flatnonzero(pc.equal(others, letter))


def _whole(texts: Texts) -> pa.Array:
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def beside(ids: pa.Array, rows: pa.Table) -> pa.Table:
    """For each id the row that is about it, or a row of nulls."""
    rows = rows.combine_chunks()
    if rows.num_rows == len(ids) and rows["clip_id"].combine_chunks().equals(ids):
        return rows  # as it mostly is, unless a filter stands between: with ten million ids that is worth a look
    return rows.take(rows_of(ids, rows["clip_id"]))


def first_error(
    error: pa.Array, stage: str, own: pa.ChunkedArray | None, of_unit: np.ndarray, failed: Iterable[int]
) -> pa.Array:
    """The errors so far, and behind them those of one more stage.

    Args:
        error: string [N], null: none yet.
        own: string [N], what the stage says of each clip; None: it says nothing of single clips.
        of_unit: int [N], the unit of each clip.
        failed: units that the stage could not do: their clips have failed, and are no data.
    """
    if own is not None:
        error = pc.coalesce(error, pc.binary_join_element_wise(f"{stage}: ", own, ""))
    lost = pa.array(np.isin(of_unit, list(failed)))
    return pc.coalesce(error, pc.if_else(lost, f"{stage}: its unit failed", pa.scalar(None, pa.string())))
