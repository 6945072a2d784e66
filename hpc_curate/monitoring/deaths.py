"""Workers that ended before they came to any of their units: no attempt tells of these, only logs and the queue do.

An image that is missing, an import that fails, a node without ffmpeg, a kill at the start.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_curate.monitoring import causes
from hpc_curate.run_folder.ledger import Attempt
from hpc_curate.run_folder.state import State
from hpc_curate.run_folder.submissions import Submission

if TYPE_CHECKING:
    from hpc_curate.monitoring.standing import Queue

NEVER_STARTED = "never_started"  # a cause: it left the queue, and there is no log

_HOST = re.compile(r"\bhostname=([^,)\s]+)")
_WENT_WELL = "Job completed successfully"
_CTRL_C = "KeyboardInterrupt"  # of an interpreter that has not come to our own code yet


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended that has left no word of any of its units."""

    job: str  # as attempts would name it
    cause: str  # one of `causes`, or NEVER_STARTED
    reason: str  # the line of its log that says why; empty: it was taken away without a word
    logs: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class _Worker:
    """One of those that share an element, and its units."""

    submission: Submission
    index: int  # of the element
    rank: int
    workers: int

    @cached_property
    def units(self) -> tuple[int, ...]:
        return self.submission.elements[self.index][self.rank :: self.workers]

    @property
    def job(self) -> str:
        return jobs_of(self.submission, self.index)[0]

    def logs(self, by_job: Mapping[str, list[Path]]) -> list[Path]:
        found = [log for job in jobs_of(self.submission, self.index) for log in by_job.get(job, [])]
        mine = [log for log in found if log.name.endswith(f"_{self.rank}_log.out")]
        return mine if self.workers > 1 else found

    def has_begun(self, state: State, attempts: Mapping[int, Attempt]) -> bool:
        """Whether the ledger knows of it, by any of its units."""
        jobs = {*jobs_of(self.submission, self.index), f"local-{self.job}"}
        for unit in self.units:
            attempt, record = attempts.get(unit), state.record(self.submission.stage, unit)
            if attempt and (attempt.job in jobs or attempt.began >= self.submission.created):
                return True
            if record and record.job in jobs:
                return True
        return False


def jobs_of(submission: Submission, index: int) -> list[str]:
    """The names under which the logs of an element lie: an array of one may be no array."""
    if submission.pids:
        return [submission.pids[index]]
    own = f"{submission.job_id}_{index}"
    return [own] if len(submission.elements) > 1 else [own, str(submission.job_id)]


def of_stage(state: State, name: str, queue: Queue, attempts: Mapping[int, Attempt]) -> dict[int, Death]:
    """How the last worker of a unit ended, for units that are not done and that it never came to."""
    having = queue.having(state.plan, name)
    wanted = [unit for unit in state.missing(name) if unit not in having]
    last = {unit: worker for worker in _workers(state, name, queue) for unit in worker.units} if wanted else {}
    silent: dict[_Worker, list[int]] = {}
    for unit in wanted:
        if unit in last:
            silent.setdefault(last[unit], []).append(unit)
    by_job = state.plan.paths.logs_by_job(name) if silent else {}
    found: dict[int, Death] = {}
    for worker, units in silent.items():
        if not worker.has_begun(state, attempts):
            death = _death(worker, worker.logs(by_job), queue.is_sure_of(worker.submission))
            found |= dict.fromkeys(units, death) if death else {}
    return found


def _workers(state: State, name: str, queue: Queue) -> Iterator[_Worker]:
    """Of all that was ever queued for the same rows, the oldest first."""
    work, each = state.plan.work_signature(name), state.plan.steps[name].resources.workers_per_element
    for one in queue.submitted:
        if one.stage == name and one.work == work and one.job_id is not None:
            shared = 1 if one.here else each
            for index in range(len(one.elements)):
                yield from (_Worker(one, index, rank, shared) for rank in range(shared))


def _death(worker: _Worker, logs: list[Path], is_over: bool) -> Death | None:
    """None: it has begun something after all, or may still be about to.

    Args:
        is_over: nothing of it is in the queue any more, whatever its log says.
    """
    text = "\n".join(map(causes.tail, logs))
    last = causes.last_start(text)
    begun = re.compile(rf"^\S+ \S+ (?:INFO|WARNING) {worker.submission.stage} unit \d+", re.MULTILINE)
    if _WENT_WELL in last or begun.search(last):
        return None
    cause, reason = causes.of_text(text), causes.reason(text)
    is_over |= worker.submission.here and socket.gethostname() in _HOST.findall(text)
    if not (is_over or reason or cause != causes.UNKNOWN):
        return None
    if worker.submission.word and cause == causes.UNKNOWN and reason in ("", _CTRL_C):
        cause, reason = causes.INTERRUPTED, ""
    return Death(worker.job, cause if logs else NEVER_STARTED, reason, tuple(logs))
