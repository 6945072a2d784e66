"""What one array element does: claim a unit, have it done, mark the ledger, and stop when it is told to."""

from __future__ import annotations

import itertools
import logging
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc_curate import config
from hpc_curate import plan as plans
from hpc_curate.errors import (
    Blocked,
    CurateError,
    EnvironmentFault,
    Preempted,
    Superseded,
    UnitFailed,
)
from hpc_curate.ledger import Attempt, Ledger, Record
from hpc_curate.meter import Cost, Meter
from hpc_curate.reader import Reader
from hpc_curate.stage import Merge, PerUnit, Stage
from hpc_curate.state import State
from hpc_curate.task import Task

log = logging.getLogger(__name__)


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
    _known: dict[str, str | None] = field(default_factory=dict)

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
        # A merge looks at everything; a task of one unit at the records of its own unit, once a merge before it has
        # been found.
        alone = isinstance(self.stage, PerUnit) and self.stage.units_from is None
        merged = dict(self._merges_before()) if alone else {}
        state = State(self.plan, self.ledger, verify=not alone, one_by_one=alone, _signatures=merged)
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
            record = state.done(self.name, unit)
            if record and self.ledger.valid(record):
                return
        except Blocked as error:
            self.ledger.block(self.name, signature, unit, str(error))
            raise
        attempt = self._begin(signature, unit)
        try:
            with Meter() as meter, self._reader(state, unit) as reader:
                task = Task(self, state, reader, signature, unit, attempt)
                record = task.merge(asked) if isinstance(self.stage, Merge) else task.per_unit(asked)
            self._publish(record, attempt, meter.read())
        except BaseException as error:
            self._give_up(signature, unit, attempt, error)
            raise
        seconds = meter.read().seconds
        log.info("%s unit %d: %d rows, %d errors, %.1f s", self.name, unit, record.rows, record.errors, seconds)

    def _merges_before(self) -> dict[str, str | None]:
        """The signatures of the merges before this stage: one look at every unit of the run for the whole element,
        unless one of them was not there yet."""
        if not self._known or None in self._known.values():
            state = State(self.plan, self.ledger)
            before = itertools.takewhile(lambda name: name != self.name, self.plan.steps)
            merges = [name for name in before if isinstance(self.plan.steps[name].stage, Merge)]
            self._known = {name: state.signature(name) for name in merges}
        return self._known

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

    def _publish(self, record: Record, attempt: Attempt, cost: Cost) -> None:
        self.ledger.check(record.stage, record.signature, record.unit, attempt)
        finished = replace(
            record,
            **asdict(cost),
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
