"""Rows of many stages beside each other: by clip_id, never by position."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def rows_of(ids: pa.Array, rows: pa.Table) -> pa.Array:
    """For each id the row that is about it; null where there is none."""
    return pc.index_in(ids, value_set=rows["clip_id"].combine_chunks())


def beside(ids: pa.Array, rows: pa.Table) -> pa.Table:
    """For each id the row that is about it, or a row of nulls."""
    rows = rows.combine_chunks()
    if rows.num_rows == len(ids) and rows["clip_id"].combine_chunks().equals(ids):
        return rows  # as it mostly is, unless a filter stands between: with ten million ids that is worth a look
    return rows.take(rows_of(ids, rows))


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
