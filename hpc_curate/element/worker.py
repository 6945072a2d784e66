"""What one array element does: claim a unit, have it done, mark the ledger, and stop when it is told to."""

from __future__ import annotations

import logging
import shutil
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hpc_curate import config
from hpc_curate import plan as plans
from hpc_curate.element.faults import environment_faults
from hpc_curate.element.meter import Cost, Meter
from hpc_curate.element.scratch import scratch
from hpc_curate.element.task import Task
from hpc_curate.errors import (
    Blocked,
    Claimed,
    CurateError,
    EnvironmentFault,
    Preempted,
    Superseded,
    UnitFailed,
)
from hpc_curate.io.silence import Silence
from hpc_curate.monitoring import causes
from hpc_curate.run_folder import claims, merged, submissions
from hpc_curate.run_folder.ledger import Attempt, Ledger, Record
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State
from hpc_curate.stage import Merge, PerUnit, Stage

log = logging.getLogger(__name__)

_AGAIN_S = 5.0  # after which a drop that nobody heard is raised once more
_POLL_S = (0.1, 5.0)  # between looks at units that others are at: at first, and at most


@dataclass(frozen=True)
class Allocation:
    """What the launcher says about where a task runs."""

    job: str = "inline"
    restarts: int = 0  # by the scheduler: a death before is not the data's fault
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
    _everything: State | None = None
    _silence: Silence = field(default_factory=Silence)
    _has_looked: bool = False  # at all units, in this pass over its own

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
        """Do the units, those that others are at last; returns how many are not done.

        Raises:
            Preempted: told to stop or out of time; what is finished is kept.
            EnvironmentFault: the machine is at fault.
        """
        try:
            return self._run(unit_numbers)
        finally:
            self._drop_nothing_more()
            if self._model:
                self.stage.unload(self._model.pop())

    def _run(self, unit_numbers: Sequence[int]) -> int:
        open_units, left, pause_s = 0, list(unit_numbers), 0.0
        while left:
            claimed, self._has_looked = [], False
            for unit in left:
                self.check_time()
                try:
                    with environment_faults(f"{self.name} unit {unit}", ours=True):
                        self._run_unit(unit)
                except Claimed as error:
                    log.log(logging.DEBUG if pause_s else logging.INFO, "%s; it comes last", error)
                    claimed.append(unit)
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
            pause_s = min(2 * pause_s or _POLL_S[0], _POLL_S[1]) if claimed == left else 0.0
            time.sleep(pause_s)
            left = claimed
        return open_units

    def _drop_nothing_more(self) -> None:
        """The stop was heard; what is tidied up now should not be disturbed."""
        if self.stopped:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def check_time(self) -> None:
        """Between items: stop if asked to, or if the deadline has come."""
        if self.stopped:
            raise Preempted(f"stopped by {self.stopped}")
        if self.allocation.deadline is not None and time.time() > self.allocation.deadline:
            raise Preempted("the walltime is nearly used up")

    def _run_unit(self, unit: int) -> None:
        state = self._look()
        signature, asked = self._asked(state, unit)
        if self._is_done(state, unit):
            return
        before = state.record(self.name, unit)
        work = claims.Work(self.name, signature, unit, before.revision if before else 0)
        with self._claimed(work) as claim:
            state.look_again(self.name, unit)
            if self._is_done(state, unit):  # by the one that was at it
                claim.remove()
                return
            attempt = self._begin(claim)
            try:
                with (
                    environment_faults(str(work), ours=True),
                    Meter() as meter,
                    self._reader(state, unit) as reader,
                ):
                    task = Task(self, state, reader, signature, unit, claim, attempt)
                    record = task.merge(asked) if isinstance(self.stage, Merge) else task.per_unit(asked)
                    self._publish(record, claim, attempt, meter.read())
            except BaseException as error:
                self._give_up(claim, attempt, error)
                raise
        seconds = meter.read().seconds
        log.info("%s unit %d: %d rows, %d errors, %.1f s", self.name, unit, record.rows, record.errors, seconds)

    def _look(self) -> State:
        """A task of one unit looks at the records of its own unit, once it is known which merges it is behind; a merge
        at everything, and so does one that reads all units, once for all that the element does of it. Where a merge
        is not ready all units are blocked: one look at everything says so."""
        if isinstance(self.stage, Merge):
            state = State(self.plan, self.ledger, fold=True)
            merged.note(state, self.name)
            return state
        assert isinstance(self.stage, PerUnit)
        if self.stage.units_from is not None:
            if self._everything is None or not (self._has_looked or self._everything.signature(self.name)):
                self._everything, self._has_looked = State(self.plan, self.ledger), True
            return self._everything
        if not self._has_looked and (not self._known or None in self._known.values()):
            self._known, self._has_looked = merged.signatures(self.plan, self.name), True
        return State(self.plan, self.ledger, verify=False, one_by_one=True, _signatures=dict(self._known))

    def _asked(self, state: State, unit: int) -> tuple[str, str]:
        """The signature, and the hash of what is asked of a unit.

        Raises:
            Blocked: what it reads is not there.
        """
        signature = state.signature(self.name)
        in_the_way = state.in_the_way(self.name, unit) if signature is None or isinstance(self.stage, Merge) else []
        asked = None if signature is None or in_the_way else state.asked(self.name, unit)
        if signature is None or asked is None:
            message = "; ".join(in_the_way or state.in_the_way(self.name, unit))
            self.ledger.block(self.name, signature or self.plan.static_signature(self.name), unit, message)
            raise Blocked(message)
        return signature, asked

    def _is_done(self, state: State, unit: int) -> bool:
        record = state.done(self.name, unit)
        return record is not None and self.ledger.valid(record)

    @contextmanager
    def _claimed(self, work: claims.Work) -> Iterator[claims.Claim]:
        """This worker's own unit, until another takes it over."""
        lease_s = self.plan.limits.lease_s
        claim = claims.take(self.plan.paths, work, self._me(), lease_s)
        try:
            with claim.renewed(lease_s):
                self._revoke(claim)
                yield claim
        finally:
            claim.release()

    def _me(self) -> claims.Holder:
        return claims.Holder(self.allocation.job, self.allocation.restarts)

    def _revoke(self, claim: claims.Claim) -> None:
        """Of workers that may still run, nothing more of this unit may appear."""
        if not claim.holder.before:
            return
        work, paths = claim.work, self.plan.paths
        record = self.ledger.record(work.stage, work.signature, work.unit)
        numbers = range(1, 1 + (record.next_part if record else 1))
        outputs = [
            paths.rows(work.stage, work.signature, work.unit, table, number)
            for table in self.stage.writes()
            for number in numbers
        ]
        self.ledger.revoke(claim, outputs)

    def _begin(self, claim: claims.Claim) -> Attempt:
        attempt = self.ledger.begin(claim, self._was_taken_away(claim))
        limit = self.plan.limits.attempts
        if attempt.attempts >= limit:
            message = f"given up after {attempt.attempts} attempts; see its log, then hpc-curate retry"
            self.ledger.end(claim, attempt, ("failed", attempt.message or message))
            raise UnitFailed(message)
        return attempt

    def _was_taken_away(self, claim: claims.Claim) -> bool:
        """Whether the worker before was in a job that Slurm ended for reasons of its own, and did not start again, or
        was killed because its user had interrupted the run."""
        if claim.found not in ("dead", "lapsed"):
            return False
        paths, last = self.plan.paths, self.ledger.attempt(self.name, claim.work.signature, claim.work.unit)
        if last.job.startswith("local-"):
            return submissions.was_stopped(submissions.every(paths), last.job)
        return causes.of_logs(paths.logs_of(self.name, last.job)) in causes.INNOCENT

    @contextmanager
    def _reader(self, state: State, unit: int) -> Iterator[Reader]:
        from hpc_curate.io.transfer import Fetcher

        settings, turns = config.source(self.plan.settings), self.plan.paths.turns
        with (
            scratch(self._me(), self.step.resources.scratch) as folder,
            Fetcher(folder, settings, turns, self._silence) as fetcher,
        ):
            yield Reader(state, self.name, unit, (fetcher, folder))

    def _publish(self, record: Record, claim: claims.Claim, attempt: Attempt, cost: Cost) -> None:
        finished = replace(
            record,
            **asdict(cost),
            attempt=attempt.attempts + 1,
            host=attempt.host,
            job=attempt.job,
            finished=time.time(),
        )
        self.ledger.mark(finished, claim)
        shutil.rmtree(self.plan.paths.parts(record.stage, record.signature, record.unit), ignore_errors=True)
        claim.remove()

    def _give_up(self, claim: claims.Claim, attempt: Attempt, error: BaseException) -> None:
        """Leave word of why the attempt ended."""
        self._drop_nothing_more()
        if isinstance(error, Superseded):
            return
        kinds = {Blocked: "blocked", Preempted: "preempted", EnvironmentFault: "environment"}
        kind = next((name for cls, name in kinds.items() if isinstance(error, cls)), "failed")
        message = str(error) if isinstance(error, CurateError) else traceback.format_exc(limit=-8)
        if isinstance(error, KeyboardInterrupt):
            kind, message = causes.INTERRUPTED, "interrupted"
        try:
            self.ledger.end(claim, attempt, (kind, message))
        except EnvironmentFault as fault:
            # The same disk, full: that the claim was released says that this worker did not die.
            log.warning("%s: why it ended could not be written down: %s", claim.work, fault)


def catch_signals(element: Element, patience_s: float) -> None:
    """Turn the signals of preemption, requeue and walltime into a stop between two items.

    An item that takes longer than `patience_s` from then on is dropped: it is the one that a kill would cost.
    """

    def stop(number: int, _frame: Any) -> None:
        element.stopped = signal.Signals(number).name
        signal.setitimer(signal.ITIMER_REAL, patience_s)

    def drop(_number: int, _frame: Any) -> None:
        # Raised in a finalizer or a callback of the garbage collector, it would be printed and forgotten.
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        raise Preempted(f"stopped by {element.stopped}; the item in flight is dropped")

    def interrupt(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a terminal and the launcher both send it: once is enough to tidy up
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, drop)
    signal.signal(signal.SIGINT, interrupt)
