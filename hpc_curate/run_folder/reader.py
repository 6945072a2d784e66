"""Inputs of a task, read from the run folder through the ledger."""

from __future__ import annotations

import io
import os
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from hpc_curate import config, units
from hpc_curate.chat.answers import Answers
from hpc_curate.clips import align
from hpc_curate.errors import BadInput, Blocked
from hpc_curate.io import delivery, tables
from hpc_curate.plan import EVERY_COLUMN
from hpc_curate.records import Video, video_of
from hpc_curate.run_folder import books
from hpc_curate.run_folder.accounting import Books
from hpc_curate.run_folder.gather import Gather
from hpc_curate.run_folder.ledger import Record
from hpc_curate.run_folder.state import State
from hpc_curate.stage import Clip, Filter, Merge, PerUnit, Resources

_OPEN_STORES = 32


class Reader:
    """Implements `inputs.Inputs` for one task of one stage."""

    def __init__(self, state: State, stage: str, unit: int, node: Any = (None, None)) -> None:
        self._state = state
        self._step = state.plan.steps[stage]
        self._stage = stage
        self._fetcher, self._scratch = node
        self.unit = unit
        self.resources: Resources = self._step.resources
        self._videos: list[Video] | None = None
        self._answers: Answers | None = None
        self._found: dict[str, list[Record]] = {}
        self._gather = Gather(state, self._records)
        self._rows: dict[tuple[str, ...], pa.Table] = {}
        self._earlier: dict[tuple[str, bool], pa.Table] = {}
        self._stores: OrderedDict[tuple[str, int], _Blobs] = OrderedDict()

    # -- the unit ------------------------------------------------------------------------------------------------

    @cached_property
    def _alone(self) -> bool:
        """Whether this task reads its own unit only, and not all of them."""
        return isinstance(self._step.stage, PerUnit) and self._step.stage.units_from is None

    def _units(self) -> list[int]:
        """The run units that this task reads."""
        return [self.unit] if self._alone else list(range(self._state.plan.units))

    def videos(self) -> list[Video]:
        if self._videos is None:
            paths, plan = self._state.plan.paths, self._state.plan
            self._videos = units.read(paths, self.unit) if self._alone else units.read_first(paths, plan.units)
        return self._videos

    # -- tables --------------------------------------------------------------------------------------------------

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        return self._gather.table(self._state.plan.writers[name], name, columns)

    def _records(self, writer: str) -> list[Record]:
        """The records that this task reads of a stage; looked up, and their files stat-ed, once."""
        if writer in self._found:
            return self._found[writer]
        step = self._state.plan.steps[writer]
        if isinstance(step.stage, Merge):
            wanted = [0]
        elif isinstance(step.stage, PerUnit) and step.stage.units_from is not None:
            wanted = list(range(step.units))
        else:
            wanted = self._units()
        records: list[Record] = []
        for unit in wanted:
            record = self._state.done(writer, unit)
            if record is not None and (self._state.verify or self._state.ledger.valid(record)):
                records.append(record)
            elif not (self._state.allow_failed and self._state.failed(writer, unit)):
                raise Blocked(f"{self._stage} reads {writer}, whose unit {unit} is not done")
        self._found[writer] = records
        return records

    # -- clips ---------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        return name in self._state.plan.writers

    def kept(self) -> list[str]:
        return self._kept()["clip_id"].to_pylist()

    def _kept(self) -> pa.Table:
        """clip_id and unit, sorted by unit."""
        name = self._step.asked_by
        stage = self._state.plan.steps[name].stage if name else None
        if name is None or not isinstance(stage, Filter):
            return self._gather.ids(self._state.plan.writers["start_pts"])
        if isinstance(stage, Merge):
            return self._merged_rows(name, stage.keep_column)
        return self._gather.ids(name, stage.keep_column)

    def _merged_rows(self, name: str, keep: str) -> pa.Table:
        """The rows that a merge keeps of this task's units; its file is sorted by unit."""
        paths = [path for record in self._records(name) for path in self._state.ledger.outputs(record, "rows")]
        wanted = pc.field(keep) & (pc.field("unit") == self.unit) if self._alone else pc.field(keep)
        return ds.dataset(paths).to_table(["clip_id", "unit"], wanted)

    def clips(self, columns: Sequence[str], ids: Sequence[str] | None = None) -> pa.Table:
        if ids is not None:
            return self._joined(self._written(columns), pa.array(ids, pa.string()))
        kept = self._kept()
        unit = None if self._alone else kept["unit"].to_numpy()
        return self._joined(self._written(columns), kept["clip_id"].combine_chunks(), unit)

    def _written(self, columns: Sequence[str]) -> list[str]:
        if EVERY_COLUMN not in columns:
            return [column for column in columns if column != "clip_id"]
        writers = self._state.plan.writers
        before = set(self._step.upstream)
        return [
            column
            for name, step in self._state.plan.steps.items()
            if name in before and "rows" in step.stage.writes()
            for column in step.stage.writes()["rows"].names
            if writers.get(column) == name
        ]

    def _joined(self, columns: Sequence[str], ids: pa.Array, unit: np.ndarray | None = None) -> pa.Table:
        """Columns of any stages beside ids; `unit` of each, ascending, where they are of very many units."""
        found: dict[str, pa.ChunkedArray] = {}
        for writer, mine in self._by_writer(columns).items():
            if unit is None:
                rows = align.beside(ids, self._own_rows(writer, mine, ids))
            else:
                rows = self._gather.beside(ids, unit, writer, mine)
            found.update({column: rows[column] for column in mine})
        return pa.table({"clip_id": ids, **{column: found[column] for column in columns}})

    def _own_rows(self, writer: str, columns: Sequence[str], ids: pa.Array) -> pa.Table:
        """Of a stage's rows those about `ids`, and others. A task of one unit asks item by item and reads them once."""
        wanted = ("clip_id", *columns)
        if not self._alone:
            return self._gather.rows_among(writer, wanted, ids)
        key = (writer, *wanted)
        if key not in self._rows:
            self._rows[key] = self._gather.table(writer, "rows", wanted)
        return self._rows[key]

    def _by_writer(self, columns: Sequence[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for column in columns:
            found.setdefault(self._state.plan.writers[column], []).append(column)
        return found

    def all_clips(self, columns: Sequence[str]) -> pa.Table:
        maker = self._state.plan.writers["start_pts"]
        return self._gather.every_clip({maker: [], **self._by_writer(self._written(columns))})

    # -- frames and blobs ----------------------------------------------------------------------------------------

    def frames(
        self, ids: Sequence[str], count: int, columns: Sequence[str] = ()
    ) -> Iterator[tuple[str, Clip | BadInput]]:
        spans = self.clips(["start_pts", "end_pts", "start_s", *columns], ids).to_pylist()
        packs = [_Blobs(path, "jpeg", ["video_id", "pts", "time_s"]) for path in self._pack_files(ids)]
        for row in spans:
            yield row["clip_id"], _clip(row, count, packs, columns)

    def _pack_files(self, ids: Sequence[str]) -> list[Path]:
        """Those of the units that the clips are in: a merge may ask for a few clips among very many units."""
        records = self._records(self._state.plan.writers["frames"])
        if len(records) > 1:
            wanted = set(units.unit_of(self._state.plan.paths, {video_of(clip) for clip in ids}).values())
            records = [record for record in records if record.unit in wanted]
        return [path for record in records for path in self._state.ledger.outputs(record, "frames")]

    def blobs(self, name: str, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        writer = self._state.plan.writers[name]
        field = next(
            f.name for f in self._state.plan.steps[writer].stage.writes()[name] if pa.types.is_large_binary(f.type)
        )
        unit_of = units.unit_of(self._state.plan.paths, {video_of(clip) for clip in ids})
        for clip in ids:
            yield clip, self._blob(writer, name, field, unit_of[video_of(clip)], clip)

    def _blob(self, writer: str, name: str, field: str, unit: int, clip: str) -> bytes:
        record = self._state.done(writer, unit)
        if record is None:
            raise Blocked(f"{self._stage} reads {writer}, whose unit {unit} is not done")
        for output in record.outputs:
            if output.table != name:
                continue
            key = (name, unit * 1000 + output.part)
            if key not in self._stores:
                self._stores[key] = _Blobs(self._state.ledger.output(record, output), field, ["clip_id"])
                if len(self._stores) > _OPEN_STORES:
                    self._stores.popitem(last=False)
            store = self._stores[key]
            self._stores.move_to_end(key)
            rows = store.where("clip_id", clip)
            if len(rows):
                return store.read(int(rows[0]))
        raise BadInput(f"{clip} is not in the {name} of unit {unit}")

    # -- the rest ------------------------------------------------------------------------------------------------

    def source(self, video: Video, wanted: Callable[[Video], bool] = lambda _: True) -> Path:
        path: Path = self._fetcher.get(video)
        videos = self.videos()
        after = [one.video_id for one in videos].index(video.video_id) + 1
        if following := next(filter(wanted, videos[after:]), None):
            self._fetcher.prefetch(following)
        return path

    def said(self, video: Video) -> dict[str, Any]:
        said: dict[str, Any] = self._fetcher.said(video)
        return said

    def tells_licence(self, video: Video) -> bool:
        return bool(self._fetcher.tells_licence(video))

    def keep(self, path: Path, sha256: str) -> str:
        signature = self._state.signature(self._stage)
        assert signature is not None
        kept = self._state.plan.paths.fetched(self._stage, signature, sha256, path.suffix)
        if not kept.exists():
            tables.publish(kept, partial(_link_or_copy, path))
        return self._state.plan.paths.named(kept)

    def kept_file(self, name: str, size: int) -> Path | None:
        path = self._state.plan.paths.root / name
        return path if path.is_file() and path.stat().st_size == size else None

    def earlier(self, name: str) -> pa.Table:
        return self._of_unit(name, others=False)

    def under_other_settings(self, name: str) -> pa.Table:
        return self._of_unit(name, others=True)

    def _of_unit(self, name: str, others: bool) -> pa.Table:
        """What the stage has written of the unit, under its own signature or under all others."""
        if (name, others) not in self._earlier:
            ledger, paths = self._state.ledger, self._state.plan.paths
            if others:
                own = self._state.signature(self._stage)
                every = [one for one in paths.signatures(self._stage) if one != own]
                found = [ledger.record(self._stage, one, self.unit) for one in every]
            else:
                found = [self._state.record(self._stage, self.unit)]
            files = [path for one in found if one and ledger.valid(one) for path in ledger.outputs(one, name)]
            schema = self._step.stage.writes()[name]  # which another version may have had other columns in
            files = [path for path in files if pq.read_schema(path).equals(schema)]
            self._earlier[name, others] = tables.read_table(files, schema=schema)
        return self._earlier[name, others]

    def scratch(self) -> Path:
        return self._scratch

    def answers(self) -> Answers:
        if self._answers is None:
            paths, signature = self._state.plan.paths, self._state.signature(self._stage)
            assert signature is not None
            mine = paths.answers(self._stage, signature, self.unit, uuid.uuid4().hex[:12])
            every = paths.answers_of(self._stage, self.unit)
            own = [path for path in every if path.parent == mine.parent]
            self._answers = Answers(mine, own, [path for path in every if path not in own])
        return self._answers

    def delivery(self) -> delivery.Delivery:
        plan, at, signature = self._state.plan, self._state.data_set(), self._state.signature("pack")
        assert at is not None and signature is not None
        return delivery.deliver_to(at, plan.paths.receipts(signature), self._scratch, config.source(plan.settings))

    def question(self) -> dict[str, Any]:
        plan = self._state.plan
        # Groups such as select give settings to stages that the recipe may not have.
        asked = {name: settings for name, settings in plan.settings["stage"].items() if name in plan.steps}
        return {"stage": asked, **{key: plan.settings[key] for key in ("measure", "cutter")}}

    def books(self) -> Books:
        return books.read(self._state.plan)

    def costs(self) -> pa.Table:
        rows = []
        for name, step in self._state.plan.steps.items():
            done = self._state.finished(name)
            counts = {key: sum(getattr(record, key) for record in done) for key in ("rows", "errors")}
            hours, cpu = (round(sum(getattr(record, key) for record in done) / 3600, 6) for key in ("seconds", "cpu_s"))
            spent = {"hours": hours, "cpu_hours": cpu, "gpu_hours": hours * step.resources.gpus}
            sizes = [size for one in done for size in (*(o.bytes for o in one.outputs), *(f[1] for f in one.files))]
            # Each unit has its record beside what it has written.
            written = {"bytes": sum(sizes), "files": len(sizes) + len(done)}
            rows.append({"stage": name, "units": len(done), **counts, **spent, **written})
        return pa.Table.from_pylist([row for row in rows if row["units"]])

    def report_folder(self) -> Path:
        return self._state.plan.paths.report(self._state.plan.hash)


class _Blobs:
    """A Parquet file whose blobs are read one row group at a time."""

    def __init__(self, path: Path, field: str, keys: Sequence[str]) -> None:
        self._file = pq.ParquetFile(path)
        self._field = field
        self.keys = self._file.read(columns=list(keys))
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._group = -1
        self._rows: Any = None
        self._where: dict[str, dict[str, np.ndarray]] = {}

    def where(self, key: str, value: str) -> np.ndarray:
        """Row numbers whose key has the value."""
        if key not in self._where:
            values = np.asarray(self.keys[key].to_pylist(), dtype=object)
            order = np.argsort(values.astype(str), kind="stable")
            found, first = np.unique(values[order].astype(str), return_index=True)
            self._where[key] = dict(zip(found.tolist(), np.split(order, first[1:]), strict=False))
        return self._where[key].get(value, np.zeros(0, np.int64))

    def read(self, row: int) -> bytes:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if group != self._group:
            self._rows = self._file.read_row_group(group, columns=[self._field])[self._field]
            self._group = group
        return self._rows[row - int(self._starts[group])].as_py()


def _link_or_copy(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # another file system
        shutil.copyfile(path, to)


def _clip(row: dict[str, Any], count: int, packs: list[_Blobs], columns: Sequence[str]) -> Clip | BadInput:
    from PIL import Image

    for pack in packs:
        rows = pack.where("video_id", video_of(row["clip_id"]))
        if not len(rows):
            continue
        pts = pack.keys["pts"].combine_chunks().to_numpy()[rows]
        inside = rows[(pts >= row["start_pts"]) & (pts < row["end_pts"])]
        if not len(inside):
            return BadInput("no frame of the frame pack lies in the clip; raise stage.scan.pack_per_s")
        chosen = inside[np.unique(((np.arange(count) + 0.5) * len(inside) / count).astype(int))]
        pictures = [np.asarray(Image.open(io.BytesIO(pack.read(int(at)))).convert("RGB")) for at in chosen]
        times = pack.keys["time_s"].combine_chunks().to_numpy()[chosen] - row["start_s"]
        return Clip(row["clip_id"], np.stack(pictures), times, {column: row[column] for column in columns})
    return BadInput("the video has no frame pack")
