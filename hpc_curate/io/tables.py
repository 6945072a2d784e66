"""Files that appear whole or not at all, and Parquet tables read in their parts."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from hpc_curate.element.faults import environment_faults

_READERS = 8  # files read at a time: on a network file system, opening one is mostly waiting
_JOINED = 256  # files to a table: a hundred thousand chunks of a column cost more than their rows


class Claim(Protocol):
    """The right to publish, which another worker may take over."""

    @property
    def token(self) -> str:
        """Names the attempt, so that two writers never share a temporary file."""

    def check(self) -> None:
        """Raises:
        Superseded: it was taken over.
        """


def publish(path: Path, write: Callable[[Path], None], claim: Claim | None = None) -> None:
    """Write to a temporary name beside `path`, flush to disk, then rename: readers see all of it or nothing.

    Args:
        write: gets the temporary path and leaves a complete, closed file there.
        claim: checked between the two; None for what anybody may write.

    Raises:
        Superseded: the claim was taken over; nothing was published.
        EnvironmentFault: the disk is full, or the file system is at fault.
    """
    own = claim.token if claim else f"{socket.gethostname()}-{os.getpid()}"
    temporary = temporary_name(path, own)
    with environment_faults(str(path), ours=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            flush(temporary)
            if claim:
                claim.check()
            temporary.replace(path)
            flush(path.parent)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if claim and isinstance(error, FileNotFoundError):
                claim.check()  # who took it over has removed the file
            raise


def temporary_name(path: Path, token: str) -> Path:
    """Where a file is written before it is published."""
    return path.with_name(f".{path.name}.{token}.tmp")


def flush(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any, claim: Claim | None = None) -> None:
    """Publish a JSON file."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True), claim)


def write_text(path: Path, text: str, claim: Claim | None = None) -> None:
    """Publish a text file in UTF-8."""
    write_bytes(path, text.encode(), claim)


def write_bytes(path: Path, data: bytes, claim: Claim | None = None) -> None:
    """Publish a file."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    publish(path, write, claim)


def read_json(path: Path) -> Any | None:
    """The value, or None where there is no file or a torn one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def json_files(folder: Path) -> Iterator[Path]:
    """Those of a folder, in order, without hidden ones; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
    except FileNotFoundError:
        return
    for name in names:
        if not name.startswith("."):
            yield folder / name


def write_table(
    path: Path,
    tables: pa.Table | Iterable[pa.Table],
    schema: pa.Schema,
    row_group: int | None,
    claim: Claim | None = None,
) -> int:
    """Publish Parquet from one table or a stream of them; returns the number of rows.

    Args:
        row_group: rows per group; 1 for blobs that are read one by one. Blob columns get neither dictionary nor
            statistics.
    """
    parts = [tables] if isinstance(tables, pa.Table) else tables
    plain = [field.name for field in schema if not pa.types.is_large_binary(field.type)]
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        with pq.ParquetWriter(
            temporary, schema, compression="zstd", use_dictionary=plain, write_statistics=plain
        ) as writer:
            for part in parts:
                count += part.num_rows
                writer.write_table(part.select(schema.names).cast(schema), row_group_size=row_group or (1 << 17))

    publish(path, write, claim)
    return count


def read_table(
    paths: Sequence[Path], columns: Sequence[str] | None = None, schema: pa.Schema | None = None
) -> pa.Table:
    """The union of the parts, in their order."""
    tables = list(read_parts(paths, columns))
    if tables:
        return pa.concat_tables(tables)
    if schema is None:
        raise FileNotFoundError("no parts to read")
    return (schema if columns is None else pa.schema([schema.field(name) for name in columns])).empty_table()


def read_parts(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The parts in their order; where they are many, some hundred of them joined to one table."""
    names = None if columns is None else list(columns)
    if len(paths) < _READERS:
        yield from (pq.ParquetFile(path).read(columns=names) for path in paths)
        return

    def read(path: Path) -> pa.Table:
        # Small files: Arrow's own threads, one per column, cost more than they save.
        return pq.ParquetFile(path).read(columns=names, use_threads=False)

    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(paths), _JOINED):
            yield pa.concat_tables(pool.map(read, paths[start : start + _JOINED])).combine_chunks()


def sha256_of_weights(path: Path) -> str:
    """The checksum of a large file that does not change under us: read once per process."""
    seen = path.stat()
    return _sha256_once(path, seen.st_size, seen.st_mtime_ns)


@cache
def _sha256_once(path: Path, _size: int, _mtime_ns: int) -> str:
    return size_and_sha256(path)[1]


def size_and_sha256(path: Path) -> tuple[int, str]:
    """Bytes and checksum of a file as it is on disk now."""
    total, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
            size += len(block)
    return size, total.hexdigest()
