"""Where the units of a stage stand that are not done: from the ledger, the claims, and what the queue shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hpc_curate.cluster import processes, slurm
from hpc_curate.cluster.slurm import Live
from hpc_curate.errors import SchedulerError
from hpc_curate.monitoring import causes
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
    cause: str = ""  # of one that is stopped: began, did not fail, and nobody is at it


@dataclass(frozen=True)
class Queue:
    """What there is of a run in Slurm's queue and on this machine."""

    scheduler: str  # answered, silent (with its word), or none: nothing was ever queued
    live: tuple[Live, ...] = ()
    submitted: tuple[Submission, ...] = ()

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


Ask = Callable[[Sequence[Submission]], list[Live]]


def queue(plan: Plan, ask: Ask = slurm.live) -> Queue:
    """One look at this machine's processes and, if anything was ever queued there, one question to Slurm."""
    submitted = tuple(submissions.every(plan.paths))
    here = processes.live(plan.paths, [one for one in submitted if one.here])
    queued = [one for one in submitted if not one.here]
    if not queued:
        return Queue("none", tuple(here), submitted)
    try:
        return Queue("answered", (*ask(queued), *here), submitted)
    except SchedulerError as error:
        return Queue(f"silent: {error}", tuple(here), submitted)


def of_stage(state: State, name: str, queued: Queue) -> list[Standing]:
    """The units of a stage that are not done."""
    plan = state.plan
    signature = state.attempts_signature(name)
    attempts = state.ledger.attempts(name, signature)
    having = queued.having(plan, name)
    found = []
    for unit in state.missing(name):
        if unit not in attempts and unit not in having:  # of most units of a large run there is nothing to find out
            found.append(Standing(unit, PENDING, _NEVER))
            continue
        attempt = attempts.get(unit, _NEVER)
        work = claims.Work(name, signature, unit)
        at_work = partial(claims.at_work, plan.paths, work, plan.limits.lease_s)
        kind = _kind(attempt, having.get(unit), at_work)
        found.append(Standing(unit, kind, attempt, _cause(plan, name, attempt) if kind == STOPPED else ""))
    return found


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


def _cause(plan: Plan, stage: str, attempt: Attempt) -> str:
    if attempt.failure and attempt.failure != "preempted":
        return attempt.failure
    found = causes.of_logs(plan.paths.logs_of(stage, attempt.job))
    # A worker that was told to stop cannot know why; Slurm does.
    return causes.PREEMPTED if attempt.failure and found == causes.UNKNOWN else found
