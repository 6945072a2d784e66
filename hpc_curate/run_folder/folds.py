"""Records of very many units in one folder: loose JSON at first, then folded into few tables.

A record moves from loose to folding to folded, and is looked for in that order; what was folded goes only when the
table that has it is there. So neither a fold under way nor one that was killed hides a record, and two at once lose
none. Of one unit the last revision counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from hpc_curate.errors import EnvironmentFault
from hpc_curate.io import tables
from hpc_curate.io.paths import DoneFolder
from hpc_curate.records import digest

T = TypeVar("T")
Value = dict[str, Any]  # of a record, with `unit` and `revision`

_FOLD_FROM = 64  # loose records that are worth a fold
_MOST_FOLDS = 8  # beside each other: the next one takes them in
_ROW_GROUP = 256  # records that are read to find one
_SCHEMA = pa.schema([("unit", pa.int32()), ("revision", pa.int32()), ("record", pa.large_binary())])


def of_unit(done: DoneFolder, unit: int) -> Value | None:
    """The last record of one unit; its row group alone is read of a table."""
    found = _Latest()
    found.take(tables.read_json(done.loose(unit)))
    for moved in done.folding():
        found.take(tables.read_json(done.loose_in(moved, unit)))
    for table in _folded(done, lambda path: pq.read_table(path, columns=["record"], filters=[("unit", "=", unit)])):
        found.take_rows(table)
    value: Value | None = found.values.get(unit)
    return value


def of_all(done: DoneFolder, parse: Callable[[Value], T]) -> dict[int, T]:
    """The last record of every unit, each parsed at once: as JSON gives them they take several times the memory."""
    found = _Latest(parse)
    for path in tables.json_files(done.folder):
        found.take(tables.read_json(path))
    for moved in done.folding():
        for path in tables.json_files(moved):
            found.take(tables.read_json(path))
    for table in _folded(done, lambda path: pq.read_table(path, columns=["record"])):
        found.take_rows(table)
    return found.values


def fingerprint(done: DoneFolder) -> str:
    """Changes whenever a record comes, changes or is folded; a look at the names, not into the files."""
    seen = []
    for folder in done.every_folder():
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            there = [(entry, entry.stat()) for entry in entries if entry.is_file() and not entry.name.startswith(".")]
            seen += [[folder.name, entry.name, at.st_ino, at.st_size, at.st_mtime_ns] for entry, at in there]
    return digest(sorted(seen))


def fold(done: DoneFolder) -> None:
    """Gather loose records into one table.

    Housekeeping: on a disk that is full or may not be written, the records stay where they are.
    """
    loose = list(tables.json_files(done.folder))
    left_behind = sum(1 for moved in done.folding() for _ in tables.json_files(moved))
    if len(loose) + left_behind >= _FOLD_FROM:
        with contextlib.suppress(OSError, EnvironmentFault):
            _fold(done, loose)


def _fold(done: DoneFolder, loose: list[Path]) -> None:
    token = uuid.uuid4().hex[:12]
    mine = done.folding_of(token)
    mine.mkdir(parents=True)
    for path in loose:
        with contextlib.suppress(FileNotFoundError):  # another fold took it
            path.rename(mine / path.name)
    # With what folds that were killed have left, or others are at: twice in tables is once.
    gathered = [path for moved in done.folding() for path in tables.json_files(moved)]
    found = _Latest()
    for path in gathered:
        found.take(tables.read_json(path))
    older = done.folds()
    if len(older) < _MOST_FOLDS:
        older = []
    for path in older:
        found.take_rows(pq.read_table(path, columns=["record"]))
    if not found.values:
        return  # another fold has them all
    rows = [
        {"unit": unit, "revision": value["revision"], "record": json.dumps(value).encode()}
        for unit, value in sorted(found.values.items())
    ]
    tables.write_table(done.fold(token), pa.Table.from_pylist(rows, schema=_SCHEMA), _SCHEMA, _ROW_GROUP)
    for path in [*gathered, *older]:
        path.unlink(missing_ok=True)
    for moved in done.folding():
        with contextlib.suppress(OSError):  # not empty: another fold is at it
            moved.rmdir()


class _Latest:
    """The last revision of each unit, of what it is given; what is torn or foreign is no record."""

    def __init__(self, parse: Callable[[Value], Any] = lambda value: value) -> None:
        self.values: dict[int, Any] = {}
        self._revisions: dict[int, int] = {}
        self._parse = parse

    def take(self, value: Any) -> None:
        unit, revision = (value.get("unit"), value.get("revision")) if isinstance(value, dict) else (None, None)
        if isinstance(unit, int) and isinstance(revision, int) and self._revisions.get(unit, -1) < revision:
            self._revisions[unit] = revision
            self.values[unit] = self._parse(value)

    def take_rows(self, table: pa.Table) -> None:
        for batch in table.to_batches(max_chunksize=1024):
            for text in batch["record"].to_pylist():
                self.take(json.loads(text))


def _folded(done: DoneFolder, read: Callable[[Path], pa.Table]) -> list[pa.Table]:
    """Of each fold what `read` takes; again from the start if a newer fold has just taken one in."""
    for _ in range(_MOST_FOLDS):
        with contextlib.suppress(FileNotFoundError):
            return [read(path) for path in done.folds()]
    return [read(path) for path in done.folds()]
