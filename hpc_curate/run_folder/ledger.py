"""What is done, and the proof of it.

A unit is done when its record says so, for the set of rows that was asked for, and every output that it names is there
with the size that it names. Records are one small JSON per unit, folded into tables by the merges. What is known of a
unit that is not done (attempts, the item in flight, strikes, the last failure) is one JSON beside them.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc_curate.errors import Superseded
from hpc_curate.io import tables
from hpc_curate.io.paths import RunPaths
from hpc_curate.run_folder import folds
from hpc_curate.run_folder.claims import Claim

_LEFT_BEHIND = (".*.tmp", "done/.*.tmp", "attempts/.*.tmp", "attempts/*.json", "claims/*", "parts/*")
_UNIT = re.compile(r"\.?(\d{5,})")


@dataclass(frozen=True, slots=True)
class Output:
    """A file of a unit, as it was published."""

    table: str
    part: int
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class Record:
    """The proof that a unit is done."""

    stage: str
    signature: str
    unit: int
    asked: tuple[str, ...]  # hashes of the sets of rows that were asked for and are here
    outputs: tuple[Output, ...]
    files: tuple[tuple[str, int], ...] = ()  # beside the tables: path (`RunPaths.named`), bytes
    have: tuple[str, ...] = ()  # the pieces of scan that are here
    rows: int = 0
    errors: int = 0
    duration_s: float = 0.0  # of the videos or clips that the rows say how long they are
    kept: tuple[int, str] | None = None  # of a filter: how many it keeps, and their hash
    seconds: float = 0.0
    cpu_s: float = 0.0  # of the worker and its children; 0: not measured
    memory_gb: float = 0.0  # that they held at once, at most; 0: not measured
    resumed: bool = False  # an earlier attempt or publication has done a part, so the three above are not of the whole
    attempt: int = 1
    host: str = ""
    job: str = ""
    finished: float = 0.0
    revision: int = 1  # publications of this unit so far
    takeovers: int = 0  # of this unit so far, from workers that were not known to have ended
    in_error: str = ""  # the hash of the ids of the rows with an error; empty: none, or a record of an earlier version

    @property
    def failures(self) -> str | int:
        """Which rows have an error, or how many where the record does not say more: for those who read them."""
        return self.in_error or self.errors

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Record:
        # Of a hundred thousand records most say the same here: one text for all of them.
        value = {**value, **{name: sys.intern(value[name]) for name in ("stage", "signature", "host")}}
        outputs = tuple(Output(**{**output, "table": sys.intern(output["table"])}) for output in value["outputs"])
        kept = tuple(value["kept"]) if value["kept"] else None
        lists = {"asked": tuple(value["asked"]), "have": tuple(value["have"])}
        lists["files"] = tuple((path, size) for path, size in value["files"])
        return cls(**{**value, **lists, "outputs": outputs, "kept": kept})  # type: ignore[arg-type]

    @property
    def next_part(self) -> int:
        return 1 + max((output.part for output in self.outputs), default=0)


@dataclass(frozen=True)
class Attempt:
    """What is known of a unit that is not done."""

    token: str = ""  # of the last worker that began
    attempts: int = 0  # that ended in a failure or a death
    item: str | None = None  # in flight
    items_done: int = 0  # before it
    items: int = 0  # in all
    strikes: dict[str, int] = field(default_factory=dict)  # deaths of a worker, by the item in flight
    takeovers: int = 0  # from workers that were not known to have ended
    failure: str | None = None  # failed, blocked, preempted, interrupted, environment; null: nothing heard since
    message: str = ""
    host: str = ""
    job: str = ""
    began: float = 0.0


@dataclass(frozen=True)
class Ledger:
    """The records of one run folder."""

    paths: RunPaths

    # -- reading -------------------------------------------------------------------------------------------------

    def record(self, stage: str, signature: str, unit: int) -> Record | None:
        """The record of one unit, wherever it lies; None if there is none or it does not parse."""
        return _parsed(folds.of_unit(self.paths.done_folder(stage, signature), unit))

    def records(self, stage: str, signature: str) -> dict[int, Record]:
        """All records of a stage, by unit; the last revision wins."""
        found = folds.of_all(self.paths.done_folder(stage, signature), _parsed)
        return {unit: record for unit, record in found.items() if record}

    def fingerprint(self, stage: str, signature: str) -> str:
        """Changes whenever a record of the stage comes or changes."""
        return folds.fingerprint(self.paths.done_folder(stage, signature))

    def valid(self, record: Record) -> bool:
        """Whether every output is there with the size that the record names."""
        tables_there = all(_size(self.output(record, output)) == output.bytes for output in record.outputs)
        return tables_there and all(_size(self.paths.root / path) == size for path, size in record.files)

    def output(self, record: Record, output: Output) -> Path:
        return self.paths.rows(record.stage, record.signature, record.unit, output.table, output.part)

    def outputs(self, record: Record, table: str) -> list[Path]:
        """The files of one table, first part first."""
        mine = sorted((output for output in record.outputs if output.table == table), key=lambda output: output.part)
        return [self.output(record, output) for output in mine]

    def attempt(self, stage: str, signature: str, unit: int) -> Attempt:
        """What is known of a unit that is not done; nothing is known of one never begun."""
        value = tables.read_json(self.paths.attempts(stage, signature, unit))
        return Attempt(**value) if value else Attempt()

    def attempts(self, stage: str, signature: str) -> dict[int, Attempt]:
        """The same for all units of a stage."""
        folder = self.paths.attempts(stage, signature, 0).parent
        values = {int(path.stem): tables.read_json(path) for path in tables.json_files(folder)}
        return {unit: Attempt(**value) for unit, value in values.items() if value}

    # -- writing -------------------------------------------------------------------------------------------------

    def begin(self, claim: Claim, excused: bool = False) -> Attempt:
        """Note that an attempt begins.

        An attempt that was begun and ended without a word died, unless the scheduler killed it and started it again,
        or it is known to be `excused`.
        That is laid at the door of its item in flight, else at the unit's: items that kill their workers are
        quarantined one by one, and the unit is not given up for them.
        """
        work, holder = claim.work, claim.holder
        last = self.attempt(work.stage, work.signature, work.unit)
        strikes = dict(last.strikes)
        killed = excused or (holder.restarts > 0 and last.job == holder.job)
        died = bool(last.token) and last.failure is None and not killed and claim.found != "released"
        if died and last.item:
            strikes[last.item] = strikes.get(last.item, 0) + 1
        attempt = Attempt(
            token=claim.token,
            attempts=last.attempts + (died and last.item is None),
            strikes=strikes,
            takeovers=holder.takeovers,
            message=last.message,
            host=holder.host,
            job=holder.job,
            began=time.time(),
        )
        self._write(claim, attempt)
        return attempt

    def working_on(self, claim: Claim, attempt: Attempt, item: str | None) -> None:
        """Note the item in flight, so that a death can be laid at its door.

        Raises:
            Superseded: another worker has claimed the unit since.
        """
        self._write(claim, replace(attempt, item=item))

    def end(self, claim: Claim, attempt: Attempt, failure: tuple[str, str]) -> None:
        """The attempt ended without a result: (its kind, as `Attempt.failure`; message)."""
        kind, message = failure
        counted = attempt.attempts + (kind == "failed")
        ended = replace(attempt, item=None, attempts=counted, failure=kind, message=message)
        with contextlib.suppress(Superseded):  # then the word is the other's
            self._write(claim, ended)

    def block(self, stage: str, signature: str, unit: int, message: str) -> None:
        """What the unit reads is not there: no attempt is counted. What a worker that is at it says stays."""
        last = self.attempt(stage, signature, unit)
        if last.token and last.failure is None:
            return
        blocked = replace(last, item=None, failure="blocked", message=message, began=time.time())
        tables.write_json(self.paths.attempts(stage, signature, unit), asdict(blocked))

    def mark(self, record: Record, claim: Claim | None = None) -> None:
        """Publish the record, then forget the attempts.

        Raises:
            Superseded: another worker has claimed the unit since; nothing was published.
        """
        path = self.paths.done(record.stage, record.signature, record.unit)
        tables.write_json(path, asdict(record), claim)
        with contextlib.suppress(OSError):  # the unit is done; a merge sweeps what stays
            self.paths.attempts(record.stage, record.signature, record.unit).unlink(missing_ok=True)

    def revoke(self, claim: Claim, outputs: Iterable[Path]) -> None:
        """Remove what the workers that the unit was taken over from had not published yet, so that they cannot.

        Args:
            outputs: of the unit, that they may be at.
        """
        work = claim.work
        mine = [paths(work.stage, work.signature, work.unit) for paths in (self.paths.done, self.paths.attempts)]
        for path in (*mine, *outputs):
            for token in claim.holder.before:
                tables.temporary_name(path, token).unlink(missing_ok=True)

    def forgive(self, stage: str, signature: str, unit: int) -> None:
        """Forget attempts and strikes, so that the unit starts fresh."""
        self.paths.attempts(stage, signature, unit).unlink(missing_ok=True)

    def reopen(self, stage: str, signature: str, unit: int, *, keep: bool = False) -> None:
        """Have a unit that is done made anew: a later revision of its record proves nothing.

        Args:
            keep: its tables stay, for a stage that goes on from them (`Inputs.earlier`).
        """
        record = self.record(stage, signature, unit)
        if record is None:
            return
        outputs = record.outputs if keep else ()
        empty = replace(record, asked=(), outputs=outputs, files=(), have=(), revision=record.revision + 1)
        tables.write_json(self.paths.done(stage, signature, unit), asdict(empty))
        shutil.rmtree(self.paths.parts(stage, signature, unit), ignore_errors=True)
        for output in () if keep else record.outputs:
            self.output(record, output).unlink(missing_ok=True)

    def fold(self, stage: str, signature: str) -> None:
        """Gather loose records into one table, if there are enough of them."""
        folds.fold(self.paths.done_folder(stage, signature))

    def sweep(self, stage: str, signature: str) -> None:
        """Remove what workers that were killed have left of units that are done; what may be of a living one stays."""
        for note in self.paths.merged_folder(stage).glob(".*.tmp"):
            note.unlink(missing_ok=True)  # also that of a living writer: nobody needs a note
        folder = self.paths.stage(stage, signature)
        found = [path for pattern in _LEFT_BEHIND for path in folder.glob(pattern)]
        records = self.records(stage, signature) if found else {}
        for path in found:
            if path.parent.name == "claims":
                with contextlib.suppress(OSError):  # its worker was killed while it tidied up, or it is not empty
                    path.rmdir()
            number = _UNIT.match(path.name)
            record = records.get(int(number[1])) if number else None
            if record is None or self._is_younger(path, record):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _is_younger(self, path: Path, record: Record) -> bool:
        """Whether it belongs to an attempt that was begun after the record was written."""
        if path.name.endswith(".tmp") or path.parent.name == "claims":
            return _modified(path) > record.finished
        attempt = self.attempt(record.stage, record.signature, record.unit)
        return attempt.began > record.finished

    def _write(self, claim: Claim, attempt: Attempt) -> None:
        path = self.paths.attempts(claim.work.stage, claim.work.signature, claim.work.unit)
        tables.write_json(path, asdict(attempt), claim)


def _parsed(value: folds.Value | None) -> Record | None:
    try:
        return Record.parse(value) if value else None
    except (KeyError, TypeError, ValueError):
        return None  # torn or foreign: not a proof


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
