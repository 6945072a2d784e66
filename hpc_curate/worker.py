"""What one array element does: claim a unit, do its items as parts, join and publish them, mark the ledger."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpc_curate import config
from hpc_curate import plan as plans
from hpc_curate.errors import (
    BadInput,
    Blocked,
    CurateError,
    EnvironmentFault,
    Preempted,
    Superseded,
    UnitFailed,
)
from hpc_curate.io import child, tables
from hpc_curate.ledger import Attempt, Ledger, Output, Record
from hpc_curate.reader import Reader
from hpc_curate.records import digest
from hpc_curate.stage import Filter, Item, Merge, PerUnit, Stage, Tables
from hpc_curate.state import State, kept_hash

log = logging.getLogger(__name__)

_WORD_OF_A_SIGNAL_S = 3.0
_MERGED_ROWS = 1 << 14  # rows per group in a merge's table, so that a unit's rows are read alone


@dataclass(frozen=True)
class Allocation:
    """What the launcher says about where a task runs."""

    job: str = "inline"
    requeued: bool = False  # the scheduler started it again: a death before is not the data's fault
    deadline: float | None = None  # epoch seconds at which it wants to have stopped


@dataclass
class Element:
    """One array element at work on its units."""

    plan: plans.Plan
    name: str
    allocation: Allocation
    stopped: str = ""  # the signal that asked to stop
    _model: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.plan.paths)
        self.step = self.plan.steps[self.name]

    @property
    def stage(self) -> Stage:
        return self.step.stage

    def model(self) -> Any:
        """Loaded once, when the first item needs it."""
        if not self._model:
            self._model.append(self.stage.load(self.step.resources))
        return self._model[0]

    def run(self, unit_numbers: Sequence[int]) -> int:
        """Do the units; returns how many are not done.

        Raises:
            Preempted: told to stop or out of time; what is finished is kept.
            EnvironmentFault: the machine is at fault.
        """
        open_units = 0
        for unit in unit_numbers:
            self.check_time()
            try:
                self._run_unit(unit)
            except Blocked as error:
                log.warning("%s unit %d is blocked: %s", self.name, unit, error)
                open_units += 1
            except Superseded as error:
                log.warning("%s", error)
            except (Preempted, EnvironmentFault):
                raise
            except CurateError as error:
                log.warning("%s unit %d failed: %s", self.name, unit, error)
                open_units += 1
        return open_units

    def check_time(self) -> None:
        """Between items: stop if asked to, or if the deadline has come."""
        if self.stopped:
            raise Preempted(f"stopped by {self.stopped}")
        if self.allocation.deadline is not None and time.time() > self.allocation.deadline:
            raise Preempted("the walltime is nearly used up")

    def _run_unit(self, unit: int) -> None:
        state = State(self.plan, self.ledger)
        signature = state.signature(self.name)
        in_the_way = state.in_the_way(self.name) if signature is None or isinstance(self.stage, Merge) else []
        if signature is None or in_the_way:
            message = "; ".join(in_the_way)
            self.ledger.block(self.name, signature or self.plan.static_signature(self.name), unit, message)
            raise Blocked(message)
        try:
            asked = state.asked(self.name, unit)
            if asked is None:
                raise Blocked("; ".join(state.in_the_way(self.name)))
            if state.done(self.name, unit):
                return
        except Blocked as error:
            self.ledger.block(self.name, signature, unit, str(error))
            raise
        attempt = self._begin(signature, unit)
        began = time.time()
        try:
            with self._reader(state, unit) as reader:
                task = _Task(self, state, reader, signature, unit, attempt)
                record = task.merge(asked) if isinstance(self.stage, Merge) else task.per_unit(asked)
            self._publish(record, attempt, time.time() - began)
        except BaseException as error:
            self._give_up(signature, unit, attempt, error)
            raise
        log.info(
            "%s unit %d: %d rows, %d errors, %.1f s", self.name, unit, record.rows, record.errors, time.time() - began
        )

    def _begin(self, signature: str, unit: int) -> Attempt:
        attempt = self.ledger.begin(self.name, signature, unit, self.allocation.job, self.allocation.requeued)
        limit = self.plan.limits.attempts
        if attempt.attempts >= limit:
            message = f"given up after {attempt.attempts} attempts; see its log, then hpc-curate retry"
            last = attempt.message or message
            self.ledger.end(self.name, signature, unit, attempt, ("failed", last))
            raise UnitFailed(message)
        return attempt

    @contextmanager
    def _reader(self, state: State, unit: int) -> Iterator[Reader]:
        from hpc_curate.io.transfer import Fetcher

        settings = config.source(self.plan.settings)
        with (
            tempfile.TemporaryDirectory(prefix="hpc_curate-", dir=self.step.resources.scratch) as scratch,
            Fetcher(Path(scratch), settings) as fetcher,
        ):
            yield Reader(state, self.name, unit, (fetcher, Path(scratch)))

    def _publish(self, record: Record, attempt: Attempt, seconds: float) -> None:
        self.ledger.check(record.stage, record.signature, record.unit, attempt)
        finished = replace(
            record,
            seconds=round(seconds, 3),
            attempt=attempt.attempts + 1,
            host=socket.gethostname(),
            job=self.allocation.job,
            finished=time.time(),
        )
        self.ledger.mark(finished, attempt.token)
        shutil.rmtree(self.plan.paths.parts(record.stage, record.signature, record.unit), ignore_errors=True)

    def _give_up(self, signature: str, unit: int, attempt: Attempt, error: BaseException) -> None:
        """Leave word of why the attempt ended."""
        kinds = {Blocked: "blocked", Preempted: "preempted", EnvironmentFault: "environment", Superseded: "superseded"}
        kind = next((name for cls, name in kinds.items() if isinstance(error, cls)), "failed")
        if kind == "superseded":
            return
        if isinstance(error, KeyboardInterrupt):
            kind = "preempted"
        message = str(error) if isinstance(error, CurateError) else traceback.format_exc(limit=-8)
        self.ledger.end(self.name, signature, unit, attempt, (kind, message))


@dataclass
class _Task:
    """One attempt at one unit."""

    element: Element
    state: State
    reader: Reader
    signature: str
    unit: int
    attempt: Attempt

    def merge(self, asked: str) -> Record:
        stage = self.element.stage
        assert isinstance(stage, Merge)
        for before in self.element.step.waits_for:
            signature = self.state.signature(before)
            if signature:
                self.element.ledger.fold(before, signature)
                self.element.ledger.sweep(before, signature)
        made = stage.run(self.element.model(), self.reader)
        if isinstance(stage, Filter):
            made["rows"] = made["rows"].sort_by("unit")
        return self._record(None, asked, {name: [table] for name, table in made.items()}, ())

    def per_unit(self, asked: str) -> Record:
        stage = self.element.stage
        assert isinstance(stage, PerUnit)
        last = self.state.record(stage.name, self.unit) if stage.incremental else None
        last = last if last and self.element.ledger.valid(last) else None
        todo = self._todo(stage, last)
        folder = self.element.plan.paths.parts(stage.name, self.signature, self.unit) / digest(asked, todo)
        parts = [self._part(stage, folder, item) for item in stage.items(self.reader, todo)]
        names = [name for name in stage.writes() if any((part / f"{name}.parquet").exists() for part in parts)]
        streams = {name: _stream(parts, name) for name in names or stage.writes()}
        have = tuple(sorted({*(last.have if last else ()), *todo})) if stage.pieces() else ()
        return self._record(last, asked, streams, have)

    def _todo(self, stage: PerUnit, last: Record | None) -> list[str]:
        """What is asked for and not here: pieces of scan, or clips; `whole` for a unit that is made anew."""
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
            return part
        self.element.check_time()
        self.element.ledger.working_on(stage.name, self.signature, self.unit, self.attempt, item.key)
        made = self._process(stage, item)
        _check_rows(stage, item, made)
        self._write_part(stage, part, made)
        return part

    def _process(self, stage: PerUnit, item: Item) -> Tables:
        strikes = self.attempt.strikes.get(item.key, 0)
        if strikes >= self.element.plan.limits.attempts:
            return stage.failed(item, f"quarantined: its worker died {strikes} times while at it")
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
        temporary = part.with_name(f".{part.name}.{self.attempt.token}.tmp")
        schemas = stage.writes()
        for name, table in made.items():
            tables.write_table(temporary / f"{name}.parquet", table, schemas[name], stage.row_group.get(name))
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            temporary.rename(part)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            if not part.exists():
                raise

    def _record(
        self, last: Record | None, asked: str, streams: Mapping[str, Iterable[pa.Table]], have: tuple[str, ...]
    ) -> Record:
        """Publish the tables as the next part of the unit and say what they hold."""
        stage, paths = self.element.stage, self.element.plan.paths
        self.element.ledger.check(stage.name, self.signature, self.unit, self.attempt)
        number = last.next_part if last else 1
        groups = stage.row_group if isinstance(stage, PerUnit) else {}
        outputs, schemas = [], stage.writes()
        for name, stream in streams.items():
            path = paths.rows(stage.name, self.signature, self.unit, name, number)
            default = _MERGED_ROWS if isinstance(stage, Merge) else None
            rows = tables.write_table(path, stream, schemas[name], groups.get(name, default), self.attempt.token)
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
        )
        rows, errors, kept = self._count(record)
        self._refuse_too_many_errors(rows, errors)
        return replace(record, rows=rows, errors=errors, kept=kept)

    def _count(self, record: Record) -> tuple[int, int, tuple[int, str] | None]:
        """Rows, rows with an error, and what a filter keeps."""
        main = next((name for name in ("rows", "videos") if name in self.element.stage.writes()), None)
        paths = self.element.ledger.outputs(record, main) if main else []
        if not paths:
            return 0, 0, None
        names = pq.read_schema(paths[0]).names
        errors = tables.read_table(paths, ["error"])["error"] if "error" in names else None
        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        kept = None
        if isinstance(self.element.stage, Filter):
            keep = self.element.stage.keep_column
            table = tables.read_table(paths, ["clip_id", keep])
            ids = table.filter(table[keep])["clip_id"].to_pylist()
            kept = (len(ids), kept_hash(ids))
        return rows, len(errors) - errors.null_count if errors is not None else 0, kept

    def _refuse_too_many_errors(self, rows: int, errors: int) -> None:
        limits, stage = self.element.plan.limits, self.element.stage
        of_clips = isinstance(stage, PerUnit) and stage.incremental and not stage.pieces()
        if of_clips and errors >= limits.bad_rows and errors > limits.bad_share * rows:
            raise UnitFailed(f"{errors} of {rows} clips have an error, more than limits.bad_share allows")


def _stream(parts: Sequence[Path], name: str) -> Iterator[pa.Table]:
    """A table's parts in the order of the items, one row group at a time, so that blobs never fill the memory."""
    for part in parts:
        path = part / f"{name}.parquet"
        if path.exists():
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def _check_rows(stage: PerUnit, item: Item, made: Tables) -> None:
    """Rows in = rows out, by clip_id."""
    if not stage.incremental or "rows" not in made:
        return
    came = made["rows"]["clip_id"]
    if len(came) != len(item.ids) or set(came.to_pylist()) != set(item.ids):
        raise UnitFailed(f"{stage.name}: asked for {len(item.ids)} clips, got {len(came)} rows with other ids")
    wanted = pc.index_in(pa.array(item.ids), value_set=came.combine_chunks())
    made["rows"] = made["rows"].take(wanted)


def catch_signals(element: Element, patience_s: float) -> None:
    """Turn the signals of preemption, requeue and walltime into a stop between two items.

    An item that takes longer than `patience_s` from then on is dropped: it is the one that a kill would cost.
    """

    def stop(number: int, _frame: Any) -> None:
        element.stopped = signal.Signals(number).name
        signal.setitimer(signal.ITIMER_REAL, patience_s)

    def drop(_number: int, _frame: Any) -> None:
        raise Preempted(f"stopped by {element.stopped}; the item in flight is dropped")

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, drop)
