"""One attempt at one unit: do its items as parts, join and publish them, say what they hold."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpc_curate.errors import BadInput, Superseded, UnitFailed
from hpc_curate.io import child, tables
from hpc_curate.plural import counted
from hpc_curate.records import digest
from hpc_curate.run_folder.claims import Claim
from hpc_curate.run_folder.ledger import Attempt, Output, Record
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State, kept_hash
from hpc_curate.stage import Filter, Item, Merge, PerUnit, Tables

if TYPE_CHECKING:
    from hpc_curate.element.worker import Element

_WORD_OF_A_SIGNAL_S = 3.0
_MERGED_ROWS = 1 << 14  # rows per group in a merge's table, so that a unit's rows are read alone


@dataclass
class Task:
    """One attempt at one unit."""

    element: Element
    state: State
    reader: Reader
    signature: str
    unit: int
    claim: Claim
    attempt: Attempt
    resumed: bool = False  # an earlier attempt has finished an item

    def merge(self, asked: str) -> Record:
        stage = self.element.stage
        assert isinstance(stage, Merge)
        for before in self.element.step.waits_for:
            signature = self.state.signature(before)
            if signature:
                self.element.ledger.sweep(before, signature)
        made = stage.run(self.element.model(), self.reader)
        if isinstance(stage, Filter):
            made["rows"] = _by_unit(made["rows"])
        return self._record(None, asked, {name: [table] for name, table in made.items()}, ())

    def per_unit(self, asked: str) -> Record:
        stage = self.element.stage
        assert isinstance(stage, PerUnit)
        last = self.state.record(stage.name, self.unit) if stage.incremental else None
        last = last if last and last.outputs and self.element.ledger.valid(last) else None
        todo = self._todo(stage, last)
        folder = self.element.plan.paths.parts(stage.name, self.signature, self.unit) / digest(asked, todo)
        parts: list[Path] = []
        items = list(stage.items(self.reader, todo))
        for item in items:
            self.attempt = replace(self.attempt, items_done=len(parts), items=len(items))
            parts.append(self._part(stage, folder, item))
        if items:  # a death while the parts are joined is no item's fault
            self.element.ledger.working_on(self.claim, self.attempt, None)
        names = [name for name in stage.writes() if any((part / f"{name}.parquet").exists() for part in parts)]
        streams = {name: _stream(parts, name) for name in names or stage.writes()}
        have = tuple(sorted({*(last.have if last else ()), *todo})) if stage.pieces() else ()
        return self._record(last, asked, streams, have)

    def _todo(self, stage: PerUnit, last: Record | None) -> list[str]:
        """What is asked for and not here: pieces of scan, or clips; nothing for a unit that is made anew as a whole."""
        if stage.pieces():
            wanted = [f"{name}:{signature}" for name, signature in stage.pieces().items()]
            return [piece for piece in wanted if last is None or piece not in last.have]
        if not stage.incremental:
            return []
        kept = self.reader.kept()
        if last is None:
            return kept
        here = set(tables.read_table(self.element.ledger.outputs(last, "rows"), ["clip_id"])["clip_id"].to_pylist())
        return [clip for clip in kept if clip not in here]

    def _part(self, stage: PerUnit, folder: Path, item: Item) -> Path:
        """The folder of a finished item: what an earlier attempt left, or made now."""
        part = folder / item.key
        if part.exists():
            self.resumed = True
            return part
        self.element.check_time()
        self.element.ledger.working_on(self.claim, self.attempt, item.key)
        made = self._process(stage, item)
        _check_rows(stage, item, made)
        self._write_part(stage, part, made)
        return part

    def _process(self, stage: PerUnit, item: Item) -> Tables:
        strikes = self.attempt.strikes.get(item.key, 0)
        if strikes >= self.element.plan.limits.attempts:
            return stage.failed(item, f"quarantined: its worker died {counted(strikes, 'time')} while at it")
        for _ in range(2):
            before = child.killed_by_others()
            try:
                made = stage.process(self.element.model(), self.reader, item)
            except BadInput as error:
                made = stage.failed(item, str(error))
            if child.killed_by_others() == before:
                break
            # The signal that took the child is on its way to us too, or memory was short: not the data's fault yet.
            time.sleep(_WORD_OF_A_SIGNAL_S)
            self.element.check_time()
        return made

    def _write_part(self, stage: PerUnit, part: Path, made: Tables) -> None:
        temporary = tables.temporary_name(part, self.claim.token)
        schemas = stage.writes()
        for name, table in made.items():
            tables.write_table(temporary / f"{name}.parquet", table, schemas[name], stage.row_group.get(name))
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            self.claim.check()
            temporary.rename(part)
        except (OSError, Superseded) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, Superseded):
                with contextlib.suppress(OSError):  # the folders that the other has removed are here again, empty
                    part.parent.rmdir()
                    part.parent.parent.rmdir()
            if isinstance(error, Superseded) or not part.exists():
                raise

    def _record(
        self, last: Record | None, asked: str, streams: Mapping[str, Iterable[pa.Table]], have: tuple[str, ...]
    ) -> Record:
        """Publish the tables as the next part of the unit and say what they hold."""
        stage, paths = self.element.stage, self.element.plan.paths
        number = last.next_part if last else 1
        groups = stage.row_group if isinstance(stage, PerUnit) else {}
        outputs, schemas = [], stage.writes()
        for name, stream in streams.items():
            path = paths.rows(stage.name, self.signature, self.unit, name, number)
            default = _MERGED_ROWS if isinstance(stage, Merge) else None
            rows = tables.write_table(path, stream, schemas[name], groups.get(name, default), self.claim)
            if last and not rows:
                path.unlink(missing_ok=True)  # a later part need not say that it has nothing of a table
                continue
            size, checksum = tables.size_and_sha256(path)
            outputs.append(Output(name, number, size, checksum, rows))
        every = (*(last.outputs if last else ()), *outputs)
        files = tuple((paths.named(path), path.stat().st_size) for path in stage.publishes(self.reader))
        before = self.state.record(stage.name, self.unit)
        record = Record(
            stage.name,
            self.signature,
            self.unit,
            # Whole units are made anew for another asked set; incremental ones hold all the sets that were ever asked.
            asked=(*(last.asked if last else ()), asked),
            outputs=every,
            files=files,
            have=have,
            revision=before.revision + 1 if before else 1,
            takeovers=self.claim.holder.takeovers + (before.takeovers if before else 0),
            resumed=self.resumed or last is not None,
        )
        counted = self._counted(record)
        self._refuse_too_many_errors(counted.rows, counted.errors)
        return counted

    def _counted(self, record: Record) -> Record:
        """With rows, rows with an error, how long what they stand for is, and what a filter keeps."""
        main = next((name for name in ("rows", "videos") if name in self.element.stage.writes()), None)
        paths = self.element.ledger.outputs(record, main) if main else []
        if not paths:
            return record
        names = pq.read_schema(paths[0]).names
        told = tables.read_table(paths, [name for name in ("error", "duration_s") if name in names])
        errors = len(told) - told["error"].null_count if "error" in names else 0
        duration = pc.sum(told["duration_s"]).as_py() or 0.0 if "duration_s" in names else 0.0
        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        kept = None
        if isinstance(self.element.stage, Filter):
            keep = self.element.stage.keep_column
            table = tables.read_table(paths, ["clip_id", keep])
            ids = table["clip_id"].filter(table[keep])
            kept = (len(ids), kept_hash(ids))
        which = _in_error(paths, "clip_id" if "clip_id" in names else "video_id") if errors else ""
        return replace(record, rows=rows, errors=errors, duration_s=round(duration, 3), kept=kept, in_error=which)

    def _refuse_too_many_errors(self, rows: int, errors: int) -> None:
        limits, stage = self.element.plan.limits, self.element.stage
        of_clips = isinstance(stage, PerUnit) and stage.incremental and not stage.pieces()
        if of_clips and errors >= limits.bad_rows and errors > limits.bad_share * rows:
            raise UnitFailed(f"{errors} of {counted(rows, 'clip')} with an error, more than limits.bad_share allows")


def _in_error(paths: Sequence[Path], name: str) -> str:
    """The hash of the ids of the rows with an error, whichever part they are in."""
    rows = tables.read_table(paths, [name, "error"])
    return kept_hash(rows[name].filter(pc.is_valid(rows["error"])))


def _stream(parts: Sequence[Path], name: str) -> Iterator[pa.Table]:
    """A table's parts in the order of the items, one row group at a time, so that blobs never fill the memory."""
    for part in parts:
        path = part / f"{name}.parquet"
        if path.exists():
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def _by_unit(rows: pa.Table) -> pa.Table:
    """Sorted, as they mostly are: sorting copies."""
    return rows if (np.diff(rows["unit"].to_numpy()) >= 0).all() else rows.sort_by("unit")


def _check_rows(stage: PerUnit, item: Item, made: Tables) -> None:
    """Rows in = rows out, by clip_id."""
    if not stage.incremental or "rows" not in made:
        return
    came = made["rows"]["clip_id"]
    if len(came) != len(item.ids) or set(came.to_pylist()) != set(item.ids):
        raise UnitFailed(f"{stage.name}: asked for {len(item.ids)} clips, got {len(came)} rows with other ids")
    wanted = pc.index_in(pa.array(item.ids), value_set=came.combine_chunks())
    made["rows"] = made["rows"].take(wanted)
