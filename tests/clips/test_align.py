"""Rows meet by clip_id, whatever their order, and a failed unit's clips have failed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hpc_curate.clips import align

IDS = pa.array(["a", "b", "c"])


def test_rows_are_found_by_id_and_never_by_position() -> None:
    assert align.rows_of(IDS, pa.chunked_array([["c"], ["a"]])).to_pylist() == [1, None, 0]


def test_very_many_rows_are_found_in_parts_as_in_one() -> None:
    numbers = np.random.default_rng(1).permutation(2000)
    among = pa.chunked_array([[f"{n:03x}" for n in part] for part in np.split(numbers, 4)])
    ids = pa.array([f"{n:03x}" for n in range(1500, 2500)] + ["", "µ", "7"])
    whole, parts = align.rows_of(ids, among), align.rows_of(ids, among, at_once=10)
    assert parts.to_pylist() == whole.to_pylist()
    assert [n is None for n in parts.to_pylist()] == [False] * 500 + [True] * 503
    twice = pa.array(["b", "a", "b", "a"])
    assert align.rows_of(twice, twice, at_once=1).to_pylist() == [0, 1, 0, 1]


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
