"""What is queued next: stage by stage, as much as the cluster takes, and nothing twice.

A unit is queued if no other submission has it. One that the queue does not show any more has it still, until Slurm has
said twice that the element is over; that verdict is written down. What does not fit is left to a relay: a small job
that runs when the first array is over and comes back here.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hpc_curate.cluster.slurm import Answer, Limits, Task, by_name
from hpc_curate.errors import Claimed, ConfigError, SchedulerError, Unanswered
from hpc_curate.plan import Plan
from hpc_curate.plural import counted
from hpc_curate.run_folder import claims, submissions
from hpc_curate.run_folder.claims import Claim, Holder, Work
from hpc_curate.run_folder.submissions import RELAY, Submission

log = logging.getLogger(__name__)

_QUEUEING = Work("submissions", "queue", 0)
_LOOK_AGAIN_S = 1.0
_ARRAYS_PER_WAVE = 4  # so that the next wave comes when a part of this one is over, not with its last straggler


class Scheduler(Protocol):
    """What has to be known of Slurm, and can be played by something else."""

    def limits(self) -> Limits: ...

    def queue(self) -> list[Task]: ...

    def recheck(self, names: Sequence[str], since: float) -> Answer: ...

    def submit(self, submission: Submission, after: Sequence[str]) -> str: ...

    def adopt(self, submission: Submission, job_id: str) -> None: ...


@dataclass
class Wave:
    """One look at the queue, and what is added to it."""

    plan: Plan
    scheduler: Scheduler
    missing: Callable[[str], list[int]]  # the units of a stage that are not done
    relayed: Submission | None = None  # the record of the relay that this runs in
    exclude: tuple[str, ...] = ()  # hosts
    left_out: Mapping[str, Collection[int]] = field(default_factory=dict)  # units by stage, for those that come after
    clock: Callable[[], float] = time.time
    _missing: dict[str, frozenset[int]] = field(default_factory=dict)
    _open: dict[str, set[int]] = field(default_factory=dict)  # elements that are not over, by submission
    _known: dict[str, Submission] = field(default_factory=dict)
    _room: int = 0
    _claim: Claim | None = None
    _began: float = 0.0

    def queue(self) -> None:
        """Queue what is missing, alone: two launchers that look at the queue together would queue the same.

        Raises:
            SchedulerError: Slurm refused or did not answer.
        """
        lease_s = self.plan.limits.lease_s
        self._claim = self._wait_for_others(lease_s)
        try:
            with self._claim.renewed(lease_s):
                self._queue()
        finally:
            self._claim.release()

    def _wait_for_others(self, lease_s: float) -> Claim:
        end = time.monotonic() + 2 * lease_s
        while True:
            try:
                return claims.take(self.plan.paths, _QUEUEING, Holder(job="launcher"), lease_s)
            except Claimed as error:
                if time.monotonic() > end:
                    raise SchedulerError(f"another hpc-curate is queueing for this run: {error}") from error
            time.sleep(_LOOK_AGAIN_S)

    def _queue(self) -> None:
        self._began = self.relayed.began if self.relayed else self.clock()
        limits = self.scheduler.limits()
        tasks = self.scheduler.queue()
        self._settle(tasks)
        relays = [one for one in self._standing(RELAY) if one.plan == self.plan.hash]
        mine = self.relayed.name if self.relayed else None
        relay = any(one.name != mine for one in relays)
        self._room = (
            limits.submit_jobs - sum(not task.is_of_another for task in tasks) - 1
        )  # a relay queues the next one while it is there itself
        waves = self.plan.settings["launch"]["waves"]
        left, unanswered = 0, None
        for name in self.plan.steps:
            most = None if waves else max(1, limits.submit_jobs // len(self.plan.steps))
            left = self._queue_stage(name, limits, most)
            unanswered = next((one for one in self._mine(name) if one.job_id is None), None)
            if left or unanswered:
                break  # what comes after it waits for all of it
        if left and not relay:
            self._queue_relay(left)
        if unanswered:
            raise self._unanswered(f"stage {unanswered.stage}: sbatch was interrupted", unanswered)

    # -- what is in the queue -------------------------------------------------------------------------------------

    def _settle(self, tasks: Sequence[Task]) -> None:
        """Find out which elements of earlier submissions are not over."""
        listed = by_name(tasks)
        doubted = []
        for submission in submissions.every(self.plan.paths):
            if submission.here:
                continue
            here = listed.get(submission.name, [])
            if submission.job_id is None and here:
                submission = self._adopt(submission, here[0].job)
            self._known[submission.name] = submission
            self._open[submission.name] = {task.index for task in here}
            if self._in_doubt(submission):
                doubted.append(submission)
        if doubted:
            self._ask_again(doubted)

    def _in_doubt(self, submission: Submission) -> set[int]:
        """Elements that the queue does not show, that nobody has called over, and of which something is not done."""
        known = {*self._open[submission.name], *submission.over}
        hidden = set(range(len(submission.elements))) - known
        if submission.stage == RELAY:
            return hidden if submission.plan == self.plan.hash else set()
        if submission.stage not in self.plan.steps or submission.work != self.plan.work_signature(submission.stage):
            return set()
        missing = self._missing_of(submission.stage)
        return {index for index in hidden if not missing.isdisjoint(submission.elements[index])}

    def _missing_of(self, stage: str) -> frozenset[int]:
        if stage not in self._missing:
            self._missing[stage] = frozenset(self.missing(stage))
        return self._missing[stage]

    def _ask_again(self, doubted: Sequence[Submission]) -> None:
        try:
            answer = self.scheduler.recheck([one.name for one in doubted], min(one.created for one in doubted))
        except SchedulerError as error:
            log.warning("what squeue does not show any more counts as queued: %s", error)
            answer = Answer((), complete=False)
        said = by_name(answer.tasks)
        for submission in doubted:
            here = said.get(submission.name, [])
            alive = {task.index for task in here if not task.ended}
            over = {task.index for task in here} - alive
            told = answer.complete and (answer.of_all or not submission.is_of_another)
            if told and (submission.job_id or not self._is_young(submission)):
                over = set(range(len(submission.elements))) - alive
            over &= self._in_doubt(submission)
            if submission.job_id is None and here:
                submission = self._adopt(submission, here[0].job)
            if over:
                taken_back = over & {task.index for task in here if task.state.startswith("CANCELLED")}
                submission = replace(
                    submission,
                    over=tuple(sorted({*submission.over, *over})),
                    cancelled=tuple(sorted({*submission.cancelled, *taken_back})),
                )
                submissions.write(self.plan.paths, submission)
            self._known[submission.name] = submission
            self._open[submission.name] |= self._in_doubt(submission)

    def _is_young(self, submission: Submission) -> bool:
        """Whether sbatch may still be on its way: whoever called it may have died before it answered."""
        return self.clock() - submission.created < float(self.plan.settings["launch"]["answer_s"])

    def _adopt(self, submission: Submission, job_id: str) -> Submission:
        if not submission.is_of_another:  # where nobody else may write
            self.scheduler.adopt(submission, job_id)
        adopted = replace(submission, job_id=job_id)
        submissions.write(self.plan.paths, adopted)
        log.info("%-8s job %s is ours: sbatch had not answered", submission.stage, job_id)
        return adopted

    def _standing(self, stage: str) -> list[Submission]:
        """Submissions of a stage that have elements which are not over."""
        return [one for one in self._known.values() if one.stage == stage and self._open[one.name]]

    def _mine(self, name: str) -> list[Submission]:
        """Those that make the rows that this plan asks of a stage."""
        return [one for one in self._standing(name) if one.work == self.plan.work_signature(name)]

    def _unanswered(self, said: str, submission: Submission) -> Unanswered:
        wait_s = submission.created + float(self.plan.settings["launch"]["answer_s"]) - self.clock()
        return Unanswered(
            f"{said}. Should it have been accepted, the same command finds it; "
            f"otherwise it is queued again {max(0, wait_s):.0f} s from now"
        )

    # -- what is added --------------------------------------------------------------------------------------------

    def _queue_stage(self, name: str, limits: Limits, most: int | None) -> int:
        """Queue what is missing of a stage and fits; returns how many elements do not.

        Args:
            most: elements; null: as many as units_per_element makes.
        """
        step = self.plan.steps[name]
        covered = {unit for one in self._mine(name) for unit in one.units(self._open[one.name])}
        missing = self._in_order(name, self._missing_of(name) - covered)
        if not missing:
            queued = f"{counted(len(covered), 'unit')} queued already"
            log.info("%-8s %s", name, queued if covered else "nothing to queue" if self._missing_of(name) else "done")
            return 0
        per_element = step.resources.units_per_element * step.resources.workers_per_element
        count = -(-len(missing) // per_element)
        elements = submissions.deal(missing, min(count, most) if most else count)
        fitting = elements if most else elements[: max(0, self._room)]
        size = limits.array_size
        if len(fitting) < len(elements):
            size = max(1, min(size, limits.submit_jobs // _ARRAYS_PER_WAVE))
        # Of the same stage only those that are asked for other rows: they may be at the same units.
        after = [*self._jobs(*step.waits_for), *self._jobs(name, but=self.plan.work_signature(name))]
        for array in submissions.in_arrays(fitting, size):
            self._submit(name, array, after)
        self._room -= len(fitting)
        units = sum(len(units) for units in fitting)
        if fitting:
            log.info("%-8s %s queued as %s", name, counted(units, "unit"), ", ".join(self._jobs(name)))
        return len(elements) - len(fitting)

    def _in_order(self, name: str, units: Iterable[int]) -> list[int]:
        """Large units first, as they are numbered; in a relay those that were queued least often.

        Nobody watches a relay: it queues no unit more often than limits.attempts, or failing ones would keep it alive
        for ever; and none that somebody has cancelled.
        """
        if self.relayed is None:
            return sorted(units)
        work, began = self.plan.work_signature(name), self.relayed.began
        since = [one for one in self._known.values() if one.work == work and one.began >= began]
        queued = Counter(unit for one in since for element in one.elements for unit in element)
        cancelled = {unit for one in since for unit in one.units(one.cancelled)}
        wanted = [unit for unit in units if queued[unit] < self.plan.limits.attempts and unit not in cancelled]
        return sorted(wanted, key=lambda unit: (queued[unit], unit))

    def _jobs(self, *stages: str, but: str = "") -> list[str]:
        """The jobs that make rows under the signatures of these stages, but for those of one work."""
        return [
            one.job_id
            for stage in stages
            for one in self._standing(stage)
            if one.job_id and one.content == self.plan.static_signature(stage) and one.work != but
        ]

    def _queue_relay(self, left: int) -> None:
        first = next((job for name in self.plan.steps for job in self._jobs(name)), None)
        if self._room < 0 or first is None:
            raise SchedulerError(
                f"the submit limit leaves no room for {counted(left, 'element')}; when others of your jobs are over: "
                f"hpc-curate retry {self.plan.paths.root} --plan {self.plan.hash}"
            )
        job_id = self._submit(RELAY, [()], [first])
        rest = counted(left, "element")
        log.info("%-8s job %s queues the rest, %s at least, when %s is over", RELAY, job_id, rest, first)

    def _submit(self, stage: str, elements: Sequence[tuple[int, ...]], after: Sequence[str]) -> str:
        """Write down, queue, write down the answer. What was refused is forgotten, what may be there is not."""
        if self._claim:
            self._claim.check()  # whoever was stopped in between has to look again
        more: dict[str, Any] = {"created": self.clock(), "began": self._began, "exclude": self.exclude}
        if stage == RELAY:
            more["left_out"] = tuple((name, tuple(sorted(units))) for name, units in self.left_out.items())
        submission = submissions.prepare(self.plan, stage, elements, **more)
        try:
            job_id = self.scheduler.submit(submission, after)
        except Unanswered as error:
            found = [task.job for task in self.scheduler.queue() if task.name == submission.name]
            if not found:
                raise self._unanswered(str(error), submission) from error
            self.scheduler.adopt(submission, found[0])
            job_id = found[0]
        except (ConfigError, SchedulerError):
            submissions.forget(self.plan.paths, submission)
            raise
        submission = replace(submission, job_id=job_id)
        submissions.write(self.plan.paths, submission)
        self._known[submission.name] = submission
        self._open[submission.name] = set(range(len(elements)))
        return job_id
