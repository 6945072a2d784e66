"""What is asked of Slurm's commands, and what a task asks about its own place in it.

Absence is unknown, not finished: a question that Slurm did not answer raises, and nothing is queued on a guess.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpc_curate.errors import SchedulerError
from hpc_curate.run_folder import privacy
from hpc_curate.run_folder.submissions import Submission

_DEFAULT_ARRAY_SIZE = 1001  # Slurm's own default
_DEFAULT_SUBMIT_JOBS = 5000  # half of Slurm's default MaxJobCount, which all users share
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"}
_ENDED |= {"PREEMPTED", "REVOKED"}
_BUSY = re.compile(r"temporarily|timed out|try again|zero bytes", re.IGNORECASE)
RETRY_AFTER_S = (2.0, 10.0)
_FILTERS = {f"SQUEUE_{what}" for what in ("ACCOUNT", "LICENSES", "NAMES", "PARTITION", "QOS", "STATES")}
_JOBS_PER_QUESTION = 5000  # Linux takes 128 KiB in one argument


@dataclass(frozen=True)
class Limits:
    """How much may be queued."""

    array_size: int  # elements of one array
    submit_jobs: int  # elements of all stages together


@dataclass(frozen=True)
class Task:
    """One element of an array as Slurm sees it, or a job that is none."""

    job: str
    index: int
    name: str
    state: str
    is_of_another: bool = False  # user

    @property
    def ended(self) -> bool:
        return self.state.split()[0] in _ENDED  # "CANCELLED by 1000"


@dataclass(frozen=True)
class Answer:
    """What Slurm says when it is asked for a second time."""

    tasks: tuple[Task, ...]
    complete: bool  # what is not named does not exist; false: nothing is known of it
    of_all: bool = False  # users; false: Slurm may tell everybody of his own jobs only


@dataclass(frozen=True)
class Live:
    """A submission of which something is still queued or running."""

    submission: Submission
    job_id: str
    units: tuple[int, ...]  # of the elements that are still there
    running: int  # elements


def limits(settings: Mapping[str, Any]) -> Limits:
    """MaxArraySize and MaxSubmitJobs, from the settings or from the cluster.

    Raises:
        SchedulerError: Slurm does not answer.
    """
    array_size = settings["max_array_size"] or _max_array_size()
    submit_jobs = settings["max_submit_jobs"] or _max_submit_jobs() or _DEFAULT_SUBMIT_JOBS
    return Limits(int(array_size), int(submit_jobs))


def here() -> bool:
    """Whether this machine has Slurm's commands at all."""
    return shutil.which("sbatch") is not None


def usual_limits(settings: Mapping[str, Any]) -> Limits:
    """The same without asking: from the settings, else Slurm's defaults."""
    array_size = settings.get("max_array_size") or _DEFAULT_ARRAY_SIZE
    return Limits(int(array_size), int(settings.get("max_submit_jobs") or _DEFAULT_SUBMIT_JOBS))


def _max_array_size() -> int:
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask(["scontrol", "show", "config"]), re.MULTILINE)
    # The limit is on the highest index; arrays here count from zero.
    return int(found.group(1)) if found else _DEFAULT_ARRAY_SIZE


def _max_submit_jobs() -> int | None:
    """The smallest limit of the user's associations; None without accounting."""
    query = ["sacctmgr", "-nP", "show", "assoc", f"user={privacy.me()}", "format=MaxSubmitJobs"]
    try:
        found = [int(line) for line in ask(query).split() if line.isdigit()]
    except SchedulerError:
        return None
    return min(found, default=None)


def queue(others: Iterable[str] = (), patience: Sequence[float] = RETRY_AFTER_S) -> list[Task]:
    """All that this user has queued or running, and what others have, by one call.

    Raises:
        SchedulerError: Slurm does not answer; then nothing may be queued.
    """
    found, mine = [], privacy.me()
    users = ",".join(dict.fromkeys([mine, *filter(None, others)]))
    # All: also what is in partitions that the site hides.
    for line in ask(["squeue", "--all", "-h", "-r", "-u", users, "-o", "%F|%K|%T|%u|%j"], patience).splitlines():
        job, *rest = line.split("|", 4)
        if len(rest) == 4:  # else the rest of a name that has several lines, which none of ours has
            index, state, user, name = rest
            found.append(Task(job, int(index) if index.isdigit() else 0, name, state, user != mine))
    return [task for task in found if not task.ended]


def recheck(names: Sequence[str], since: float) -> Answer:
    """The second question, about jobs that the queue does not show: what the controller remembers, else accounting.

    Raises:
        SchedulerError: neither answers.
    """
    try:
        return Answer(tuple(_remembered(set(names))), complete=True)
    except SchedulerError:
        return Answer(tuple(_accounted(names, since)), complete=False)


def shows_jobs_of_all() -> bool:
    """Whether users may look at the jobs of others."""
    private = re.search(r"^PrivateData\s*=\s*(.*)$", ask(["scontrol", "show", "config"]), re.MULTILINE)
    return private is None or "jobs" not in private.group(1).split(",")


def _remembered(names: set[str]) -> Iterator[Task]:
    # Of all jobs: it takes one id or none, and no names. The controller forgets what ended MinJobAge (300 s) ago.
    for line in ask(["scontrol", "--all", "--oneliner", "show", "job"], RETRY_AFTER_S).splitlines():
        fields: dict[str, str] = dict(re.findall(r"(\w+)=(\S+)", line)[:40])
        if fields.get("JobName") in names:
            job = fields.get("ArrayJobId", fields["JobId"])
            for index in _indices(fields.get("ArrayTaskId", "0")):
                yield Task(job, index, fields["JobName"], fields["JobState"])


def _accounted(names: Sequence[str], since: float) -> Iterator[Task]:
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 3600))
    what = [f"--starttime={start}", f"--name={','.join(names)}", "--format=JobID,JobName,State"]
    for line in ask(["sacct", "-X", "-n", "-P", *what], RETRY_AFTER_S).splitlines():
        number, name, state = line.split("|", 2)
        job, _, indices = number.partition("_")
        for index in _indices(indices.strip("[]") or "0"):
            yield Task(job, index, name, state)


def states(jobs: Sequence[str]) -> dict[str, str]:
    """How jobs ended, by accounting; nothing where there is none, or it does not answer."""
    found: dict[str, str] = {}
    for start in range(0, len(jobs), _JOBS_PER_QUESTION):
        asked = ",".join(jobs[start : start + _JOBS_PER_QUESTION])
        try:
            lines = ask(["sacct", "-X", "-n", "-P", f"--jobs={asked}", "--format=JobID,JobName,State"]).splitlines()
        except SchedulerError:
            return found
        found.update({line.split("|")[0]: line.split("|")[-1] for line in lines})
    return found


def _indices(text: str) -> Iterator[int]:
    """`3-5,9%2`, or `0-12:2`: the elements of an array that one line stands for."""
    for part in text.partition("%")[0].split(","):
        if found := re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part):
            first, last, step = found.groups()
            yield from range(int(first), int(last or first) + 1, int(step or 1))


def by_name(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Elements by the name of their job, which is that of its submission."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.name, []).append(task)
    return found


def live(submitted: Sequence[Submission]) -> list[Live]:
    """Which submissions still have elements in the queue: one call for all of them.

    Raises:
        SchedulerError: Slurm does not answer.
    """
    if not submitted:
        return []
    listed = by_name(queue({one.user for one in submitted}, patience=()))
    found = []
    for submission in submitted:
        tasks = listed.get(submission.name, [])
        if tasks:
            units = tuple(unit for task in tasks for unit in submission.elements[task.index])
            running = sum(task.state in ("RUNNING", "COMPLETING") for task in tasks)
            found.append(Live(submission, tasks[0].job, units, running))
    return found


def cancel(live_jobs: Sequence[Live]) -> None:
    """Cancel what is still queued or running, in one call; what others have queued only they can cancel."""
    mine = sorted({one.job_id for one in live_jobs if not one.submission.is_of_another})
    if mine:
        ask(["scancel", *mine], RETRY_AFTER_S)


def cancel_named(name: str) -> None:
    """Take back a job that may have been accepted although sbatch did not say so."""
    with contextlib.suppress(SchedulerError):
        ask(["scancel", f"--name={name}", f"--user={privacy.me()}"])


def ask(argv: Sequence[str], patience: Sequence[float] = ()) -> str:
    """What a command of Slurm prints.

    Args:
        patience: where Slurm is too busy, ask again after so many seconds each time.

    Raises:
        SchedulerError: it is not here, does not answer, or refuses.
    """
    for wait_s in patience:
        try:
            return ask(argv)
        except SchedulerError as error:
            if not _BUSY.search(str(error)):
                raise
            time.sleep(wait_s)
    if shutil.which(argv[0]) is None:
        raise SchedulerError(f"{argv[0]} is not on this machine's PATH; use launch=local, or go to a login node")
    # What people have set to see less for themselves; and Slurm would shorten the list of an array's elements.
    environment = {name: value for name, value in os.environ.items() if name not in _FILTERS}
    environment["SLURM_BITSTR_LEN"] = "0"
    # Of the jobs of others there are names, paths and comments in whatever encoding these had.
    try:
        answer = subprocess.run(
            argv, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{argv[0]} did not answer within 60 s; nothing was queued, try again") from error
    except OSError as error:
        raise SchedulerError(f"{argv[0]} could not be started: {error.strerror}") from error
    if answer.returncode:
        raise SchedulerError(f"{argv[0]}: {answer.stderr.strip() or f'exit code {answer.returncode}'}")
    return answer.stdout


# -- inside a task -------------------------------------------------------------------------------------------------


def my_job() -> str | None:
    """`1234_7`, or None outside Slurm."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{job}_{index}" if job and index else job


def my_id() -> str:
    """The job's own number, which an element of an array has too."""
    return os.environ.get("SLURM_JOB_ID", "")


def my_restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def my_rank() -> int:
    """Which of the tasks on this node."""
    return int(os.environ.get("SLURM_LOCALID") or 0)


def my_cpus() -> int:
    """That the job has on this node; 0: not known."""
    return int(os.environ.get("SLURM_CPUS_ON_NODE") or 0)


def my_deadline(grace_s: float) -> float | None:
    """When to stop by oneself, where Slurm says when the job ends: a site may not deliver the warning signal."""
    end = os.environ.get("SLURM_JOB_END_TIME")
    return float(end) - grace_s if end and end.isdigit() else None


def requeue_myself() -> None:
    """Back into the queue, for a task whose batch script is not ours; one that was cancelled stays cancelled.

    Raises:
        SchedulerError: Slurm did not take it back.
    """
    job = my_job()
    if job and re.search(r"\bJobState=RUNNING\b", ask(["scontrol", "--oneliner", "show", "job", job])):
        ask(["scontrol", "requeue", job])


def clear_stale_result() -> None:
    """submitit asserts that its temporary result is absent, which it is not after a kill at the wrong moment."""
    if my_job() is None:
        return
    import submitit

    result = submitit.JobEnvironment().paths.result_pickle
    result.with_name(result.name + ".save_tmp").unlink(missing_ok=True)
