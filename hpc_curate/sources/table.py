"""A table (.parquet, .csv, .jsonl) with a column uri; bytes or size are taken, other columns travel with the video.

A CSV has no types, so its values travel as the text that stands there; the other two keep theirs.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hpc_curate import credentials, sources
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.nearest import nearest
from hpc_curate.records import local_path

Row = dict[str, Any]

_ROWS = 1 << 14  # at once in memory as Python values


def accepts(source: str, settings: SourceSettings) -> bool:
    return _suffix(source) in _READERS and Path(local_path(source)).is_file()


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """The rows of the table in their order. Where it has sizes, no file is looked at.

    Raises:
        ConfigError: no column `uri`, an empty one, a size that is no number, or a value that cannot travel as JSON.
    """
    path = sources.absolute(source)
    rows = _READERS[_suffix(source)](path)
    try:
        first = next(rows, None)
        if first is None:
            raise ConfigError(f"input={source} has no rows")
        if "uri" not in first:
            raise ConfigError(f"input={source} has no column 'uri'; {nearest('uri', map(str, first))}")
        size = next((name for name in ("bytes", "size") if name in first), None)
        parts = list(_parts(itertools.chain([first], rows), size, source, str(path.parent)))
    except (pa.ArrowInvalid, csv.Error, ValueError) as error:
        raise ConfigError(f"input={source} cannot be read: {str(error).splitlines()[0]}") from error
    found = pa.concat_tables(parts)
    uris = found["uri"].to_pylist()
    found = found.set_column(1, "name", pa.array(sources.names(uris, str(path.parent)), pa.string()))
    if size is None:
        looked = sources.look(uris)
        found = found.set_column(2, "bytes", pa.array([part for part, _ in looked], pa.int64()))
        found = found.set_column(3, "version", pa.array([part for _, part in looked], pa.string()))
        sources.refuse_if_none_exists(source, uris)
    return found


def _parts(rows: Iterator[Row], size: str | None, source: str, folder: str) -> Iterator[pa.Table]:
    """Entries whose names are still empty."""
    start = 1
    while batch := list(itertools.islice(rows, _ROWS)):
        uris, sizes, extras = [], [], []
        for number, row in enumerate(batch, start):
            uri = row.pop("uri", None)
            if not isinstance(uri, str) or not uri.strip():
                raise ConfigError(f"input={source}: row {number} has no uri")
            uris.append(sources.resolve(uri, folder))
            sizes.append((_bytes(row.pop(size, None), source, number), "") if size else sources.UNKNOWN)
            extras.append(_json(row, source, number))
        if credentials.found("\n".join(extras)):
            number, what = next((start + n, what) for n, text in enumerate(extras) if (what := credentials.found(text)))
            raise ConfigError(f"input={source}: row {number} holds {what}, and would carry it into the tars; drop it")
        start += len(batch)
        yield sources.tabulate(uris, [""] * len(uris), sizes, extras)


def _bytes(value: Any, source: str, number: int) -> int:
    if value is None or value == "":
        return -1
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"input={source}: row {number} has the size {value!r:.40}, which is no number") from error


def _json(row: Row, source: str, number: int) -> str:
    """Columns without a value, NaN included, are left out: no JSON says what they mean."""
    try:
        return json.dumps({k: v for k, v in row.items() if v is not None and v == v}, default=_text, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"input={source}: row {number} cannot travel as JSON: {error}; drop that column") from error


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        raise TypeError("bytes")
    return str(value)  # dates, decimals


def _suffix(source: str) -> str:
    return Path(local_path(source)).suffix.lower()


def _parquet(path: Path) -> Iterator[Row]:
    _refuse_twice(path, pq.read_schema(path).names)
    for batch in pq.ParquetFile(path).iter_batches(_ROWS):
        yield from batch.to_pylist()


def _csv(path: Path) -> Iterator[Row]:
    # A field may be as long as a caption is; the module's own limit is 128 KiB.
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        _refuse_twice(path, rows.fieldnames or ())
        for row in rows:
            if None in row:
                raise ConfigError(
                    f"input={path}: a row has more fields than the header: {credentials.redacted(row['uri'] or '')}"
                )
            yield row


def _refuse_twice(path: Path, columns: Sequence[str]) -> None:
    """Of two columns with one name, one would be lost."""
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ConfigError(f"input={path} has more than one column {', '.join(map(repr, twice))}; rename or drop one")


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ConfigError(f"input={path}: line {number} is no JSON object")
                yield row


_READERS = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
