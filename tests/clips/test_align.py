"""Rows meet by clip_id, whatever their order, and a failed unit's clips have failed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hpc_curate.clips import align

IDS = pa.array(["a", "b", "c"])


def test_rows_are_found_by_id_and_never_by_position() -> None:
    rows = pa.table({"clip_id": pa.chunked_array([["c"], ["a"]])})
    assert align.rows_of(IDS, rows).to_pylist() == [1, None, 0]


def test_the_first_error_stays_and_a_stage_names_its_own() -> None:
    before = pa.array(["embed: torn", None, None])
    own = pa.chunked_array([["late", "bad", None]])
    found = align.first_error(before, "text", own, np.array([0, 0, 1]), [])
    assert found.to_pylist() == ["embed: torn", "text: bad", None]


def test_the_clips_of_a_failed_unit_have_failed() -> None:
    found = align.first_error(pa.nulls(3, pa.string()), "embed", None, np.array([0, 7, 7]), [7])
    assert found.to_pylist() == [None, "embed: its unit failed", "embed: its unit failed"]


def test_rows_come_beside_their_ids_with_nulls_where_there_is_none() -> None:
    rows = pa.table({"clip_id": pa.chunked_array([["c"], ["a"]]), "score": pa.chunked_array([[3], [1]])})
    assert align.beside(IDS, rows)["score"].to_pylist() == [1, None, 3]
    same = pa.table({"clip_id": pa.chunked_array([["a", "b"], ["c"]]), "score": pa.chunked_array([[1, 2], [3]])})
    assert align.beside(IDS, same)["score"].to_pylist() == [1, 2, 3]
