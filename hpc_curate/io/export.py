"""Tables for people: Parquet, CSV or JSON lines, by the ending of the file."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from hpc_curate.errors import ConfigError
from hpc_curate.io.tables import publish


def write_rows(path: Path, rows: pa.Table) -> None:
    """Write the whole file or nothing.

    Raises:
        ConfigError: the ending is none of .parquet, .csv, .jsonl, or the file cannot be written.
    """
    writers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    if path.suffix not in writers:
        raise ConfigError(f"--output {path}: the name must end in one of {', '.join(writers)}")
    try:
        publish(path.absolute(), lambda temporary: writers[path.suffix](temporary, rows))
    except OSError as error:
        raise ConfigError(f"--output {path} cannot be written: {error.strerror or error}") from error


def _parquet(path: Path, rows: pa.Table) -> None:
    pq.write_table(rows, path, compression="zstd")


def _csv(path: Path, rows: pa.Table) -> None:
    """Lists and bytes, which CSV does not know, become JSON and hexadecimal."""
    for at, field in enumerate(rows.schema):
        if pa.types.is_nested(field.type):
            text = [None if value is None else json.dumps(value) for value in rows[field.name].to_pylist()]
            rows = rows.set_column(at, field.name, pa.array(text, pa.string()))
        elif pa.types.is_binary(field.type) or pa.types.is_fixed_size_binary(field.type):
            text = [None if value is None else value.hex() for value in rows[field.name].to_pylist()]
            rows = rows.set_column(at, field.name, pa.array(text, pa.string()))
    csv.write_csv(rows, path)


def _jsonl(path: Path, rows: pa.Table) -> None:
    with path.open("w") as file:
        for batch in rows.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                file.write(json.dumps(row, default=lambda value: value.hex()) + "\n")
