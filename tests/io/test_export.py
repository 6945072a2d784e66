"""Tables for people: the same rows from each format, and a clear word about a wrong name."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.io.export import write_rows

ROWS = pa.table(
    {
        "clip_id": ["a", "b"],
        "motion": [0.5, None],
        "reasons": pa.array([["dark", "still"], []], pa.list_(pa.string())),
        "hash": pa.array([b"\x01\xff", None], pa.binary()),
    }
)


def test_parquet_keeps_everything(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", ROWS)
    assert pq.read_table(tmp_path / "rows.parquet").equals(ROWS)


def test_csv_has_lists_as_json_and_bytes_as_hexadecimal(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", ROWS)
    with (tmp_path / "rows.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {"clip_id": "a", "motion": "0.5", "reasons": '["dark", "still"]', "hash": "01ff"}
    assert second == {"clip_id": "b", "motion": "", "reasons": "[]", "hash": ""}


def test_json_lines_are_one_object_a_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows == [
        {"clip_id": "a", "motion": 0.5, "reasons": ["dark", "still"], "hash": "01ff"},
        {"clip_id": "b", "motion": None, "reasons": [], "hash": None},
    ]


@pytest.mark.parametrize(("name", "said"), [("rows.xlsx", ".parquet, .csv, .jsonl"), ("file/rows.csv", "written")])
def test_what_cannot_be_written_is_said(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=said):
        write_rows(tmp_path / name, ROWS)
