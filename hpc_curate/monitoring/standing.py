"""Where the units of a stage stand that are not done: from the ledger, the claims, and what the queue shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from hpc_curate.cluster import processes, slurm
from hpc_curate.cluster.slurm import Live
from hpc_curate.errors import SchedulerError
from hpc_curate.monitoring import causes, deaths
from hpc_curate.monitoring.deaths import Death
from hpc_curate.plan import Plan
from hpc_curate.run_folder import claims, submissions
from hpc_curate.run_folder.ledger import Attempt
from hpc_curate.run_folder.state import State
from hpc_curate.run_folder.submissions import RELAY, Submission

RUNNING, QUEUED, FAILED, BLOCKED, STOPPED, PENDING = "running", "queued", "failed", "blocked", "stopped", "pending"
ENVIRONMENT = "environment"  # a cause, beside those of `causes`

_NEVER = Attempt()  # begun


@dataclass(frozen=True, slots=True)
class Standing:
    """A unit that is not done."""

    unit: int
    kind: str
    attempt: Attempt
    cause: str = ""  # of one that is stopped: queued or begun, did not fail, and nobody is at it
    logs: tuple[Path, ...] = ()  # of a worker that ended before it came to the unit

    @property
    def last_line(self) -> str:
        """Of what the attempt left as its reason."""
        return (self.attempt.message.strip().splitlines() or [""])[-1]


@dataclass(frozen=True)
class Queue:
    """What there is of a run in Slurm's queue and on this machine."""

    scheduler: str  # answered, silent (with its word), or none: nothing was ever queued
    live: tuple[Live, ...] = ()
    submitted: tuple[Submission, ...] = ()
    asked: float = 0.0  # epoch seconds: what was queued later it does not show

    def is_sure_of(self, submission: Submission) -> bool:
        """Whether an element that is not here has left Slurm's queue: users may see their own jobs only."""
        asked = self.scheduler == "answered" and submission.created < self.asked
        return asked and not submission.here and not submission.is_of_another

    @property
    def is_unknown(self) -> bool:
        """Whether there is a Slurm here that does not answer: what was queued may be there still."""
        return self.scheduler.startswith("silent") and slurm.here()

    def of(self, plan: Plan) -> list[Live]:
        """What makes the rows of a plan, or queues more of it."""
        return [one for one in self.live if _belongs(one.submission, plan)]

    def having(self, plan: Plan, stage: str) -> dict[int, Live]:
        """What has the units of a stage that are queued or running."""
        mine = [one for one in self.of(plan) if one.submission.stage == stage]
        return {unit: one for one in mine for unit in one.units}

    def words(self, plan: Plan) -> list[str]:
        """What the last relay of a plan could not do, unless something was queued after it."""
        mine = [one for one in self.submitted if _belongs(one, plan)]
        return [mine[-1].word] if mine and mine[-1].word else []


def _belongs(submission: Submission, plan: Plan) -> bool:
    if submission.stage == RELAY:
        return submission.plan == plan.hash
    return submission.stage in plan.steps and submission.content == plan.static_signature(submission.stage)


Ask = Callable[[Sequence[Submission]], tuple[list[Live], float]]  # and when that was so


def ask_now(submitted: Sequence[Submission]) -> tuple[list[Live], float]:
    """What is queued or running.

    Raises:
        SchedulerError: Slurm does not answer.
    """
    now = time.time()
    return slurm.live(submitted), now


def queue(plan: Plan, ask: Ask = ask_now) -> Queue:
    """One look at this machine's processes and, if anything was ever queued there, one question to Slurm."""
    submitted = tuple(submissions.every(plan.paths))
    here = processes.live(plan.paths, [one for one in submitted if one.here])
    queued = [one for one in submitted if not one.here]
    if not queued:
        return Queue("none", tuple(here), submitted)
    try:
        live, asked = ask(queued)
        return Queue("answered", (*live, *here), submitted, asked)
    except SchedulerError as error:
        return Queue(f"silent: {error}", tuple(here), submitted)


def of_stage(state: State, name: str, queued: Queue) -> list[Standing]:
    """The units of a stage that are not done."""
    plan = state.plan
    signature = state.attempts_signature(name)
    attempts = state.ledger.attempts(name, signature)
    having, died = queued.having(plan, name), deaths.of_stage(state, name, queued, attempts)
    logs = cache(lambda: plan.paths.logs_by_job(name))
    found = []
    for unit in state.missing(name):
        if unit in died:
            found.append(_dead(unit, died[unit], attempts.get(unit, _NEVER)))
            continue
        if unit not in attempts and unit not in having:  # of most units of a large run there is nothing to find out
            found.append(Standing(unit, PENDING, _NEVER))
            continue
        attempt = attempts.get(unit, _NEVER)
        work = claims.Work(name, signature, unit)
        at_work = partial(claims.at_work, plan.paths, work, plan.limits.lease_s)
        kind = _kind(attempt, having.get(unit), at_work)
        found.append(Standing(unit, kind, attempt, _cause(attempt, logs, queued) if kind == STOPPED else ""))
    return found


def _dead(unit: int, death: Death, before: Attempt) -> Standing:
    """Of a unit that its worker never came to: what says why it ended is a failure, a death by chance is not."""
    failed = bool(death.reason) and death.cause == causes.UNKNOWN
    last = Attempt(
        attempts=before.attempts,
        failure=FAILED if failed else None,
        message=death.reason,
        job=death.job,
    )
    return Standing(unit, FAILED if failed else STOPPED, last, "" if failed else death.cause, death.logs)


def _kind(attempt: Attempt, having: Live | None, at_work: Callable[[], bool]) -> str:
    """What the ledger, the queue and the claim say together; what an earlier job said is history."""
    begun = bool(attempt.token) and attempt.failure is None
    if having and not _is_of(attempt, having):
        return RUNNING if begun and at_work() else QUEUED
    if having and attempt.failure == "preempted":
        return QUEUED
    if begun:
        return RUNNING if having or at_work() else STOPPED
    if attempt.failure in (FAILED, BLOCKED):
        return str(attempt.failure)
    return STOPPED if attempt.failure else PENDING


def _is_of(attempt: Attempt, live: Live) -> bool:
    """Whether the attempt was made by this submission."""
    if live.submission.here:
        return attempt.began >= live.submission.created  # the clock is the same
    return attempt.job.partition("_")[0] == live.job_id


def _cause(attempt: Attempt, logs: Callable[[], Mapping[str, list[Path]]], queued: Queue) -> str:
    if attempt.failure and attempt.failure != "preempted":
        return attempt.failure
    here = attempt.job.removeprefix("local-")
    found = causes.of_logs(logs().get(here, []))
    # A worker that was told to stop cannot know why; Slurm does, and without Slurm nobody preempts.
    told = causes.PREEMPTED if attempt.failure and found == causes.UNKNOWN else found
    if attempt.job == here:
        return told
    was_stopped = told == causes.PREEMPTED or submissions.was_stopped(queued.submitted, attempt.job)
    return causes.INTERRUPTED if was_stopped else told
