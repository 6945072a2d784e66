"""What is asked of Slurm: limits, live jobs, the options of an array, and a task's own place in it.

Absence is unknown, not finished: a question that Slurm did not answer raises, and nothing is queued on a guess.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpc_curate.errors import SchedulerError
from hpc_curate.plan import Plan
from hpc_curate.submissions import Submission

_DEFAULT_ARRAY_SIZE = 1001  # Slurm's own default
_DEFAULT_SUBMIT_JOBS = 5000  # half of Slurm's default MaxJobCount, which all users share
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"}


@dataclass(frozen=True)
class Limits:
    """How much may be queued."""

    array_size: int  # elements of one array
    submit_jobs: int  # elements of all stages together


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


def _max_array_size() -> int:
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask(["scontrol", "show", "config"]), re.MULTILINE)
    # The limit is on the highest index; arrays here count from zero.
    return int(found.group(1)) if found else _DEFAULT_ARRAY_SIZE


def _max_submit_jobs() -> int | None:
    """The smallest limit of the user's associations; None without accounting."""
    query = ["sacctmgr", "-nP", "show", "assoc", f"user={getpass.getuser()}", "format=MaxSubmitJobs"]
    try:
        found = [int(line) for line in ask(query).split() if line.isdigit()]
    except SchedulerError:
        return None
    return min(found, default=None)


def live(submitted: Sequence[Submission]) -> list[Live]:
    """Which submissions still have elements in the queue: one call for all of them.

    Raises:
        SchedulerError: Slurm does not answer; then nothing may be queued.
    """
    if not submitted:
        return []
    lines = ask(["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%F|%K|%T|%j"]).splitlines()
    by_name: dict[str, list[tuple[str, str, str]]] = {}
    for line in lines:
        job, index, state, name = line.split("|", 3)
        by_name.setdefault(name, []).append((job, index, state))
    found = []
    for submission in submitted:
        tasks = [task for task in by_name.get(submission.name, []) if task[2] not in _ENDED]
        if tasks:
            there = [int(index) if index.isdigit() else 0 for _, index, _ in tasks]
            units = tuple(unit for index in there for unit in submission.elements[index])
            running = sum(state in ("RUNNING", "COMPLETING") for *_, state in tasks)
            found.append(Live(submission, tasks[0][0], units, running))
    return found


def parameters(plan: Plan, submission: Submission, after: Sequence[str]) -> dict[str, Any]:
    """What submitit's Slurm executor is given for one array."""
    settings = plan.settings["launch"]
    resources = plan.steps[submission.stage].resources
    extra = {"kill-on-invalid-dep": "yes", "open-mode": "append", "requeue": True}
    given: dict[str, Any] = {
        "job_name": submission.name,
        "partition": resources.partition or settings["gpu_partition" if resources.gpus else "cpu_partition"],
        "time": resources.minutes,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "mem": f"{round(resources.memory_gb * 1000)}M",
        "gres": f"gpu:{resources.gpus}" if resources.gpus else None,
        "signal_delay_s": settings["grace_s"],
        "array_parallelism": settings["array_parallelism"],
        "setup": list(settings["setup"]) or None,
        "dependency": "afterany:" + ":".join(dict.fromkeys(after)) if after else None,
        "stderr_to_stdout": True,
        **settings["sbatch"],
    }
    given["additional_parameters"] = {**extra, **(given.get("additional_parameters") or {})}
    return {key: value for key, value in given.items() if value is not None}


def cancel(live_jobs: Sequence[Live]) -> None:
    """Cancel what is still queued or running, in one call."""
    if live_jobs:
        ask(["scancel", *sorted({one.job_id for one in live_jobs})])


def cancel_named(name: str) -> None:
    """Take back a job that may have been accepted although sbatch did not say so."""
    try:
        ask(["scancel", f"--name={name}", f"--user={getpass.getuser()}"])
    except SchedulerError:
        return


def reason(error: BaseException) -> str:
    """The line of sbatch that says why."""
    lines = [line for line in str(error).splitlines() if "error:" in line]
    return lines[-1] if lines else str(error).strip().splitlines()[-1]


def ask(argv: list[str]) -> str:
    """What a command of Slurm prints.

    Raises:
        SchedulerError: it is not here, does not answer, or refuses.
    """
    if shutil.which(argv[0]) is None:
        raise SchedulerError(f"{argv[0]} is not on this machine's PATH; use launch=local, or go to a login node")
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{argv[0]} did not answer within 60 s; nothing was queued, try again") from error
    if answer.returncode:
        raise SchedulerError(f"{argv[0]}: {answer.stderr.strip() or f'exit code {answer.returncode}'}")
    return answer.stdout


# -- inside a task -------------------------------------------------------------------------------------------------


def my_job() -> str | None:
    """`1234_7`, or None outside Slurm."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{job}_{index}" if job and index else job


def my_restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def my_deadline(grace_s: float) -> float | None:
    """When to stop by oneself, where Slurm says when the job ends: a site may not deliver the warning signal."""
    end = os.environ.get("SLURM_JOB_END_TIME")
    return float(end) - grace_s if end and end.isdigit() else None


def requeue_myself(signal_name: str) -> None:
    """After the warning before the walltime: back into the queue. At SIGTERM Slurm itself decides."""
    job = my_job()
    if job and signal_name != "SIGTERM":
        ask(["scontrol", "requeue", job])


def clear_stale_result() -> None:
    """submitit asserts that its temporary result is absent, which it is not after a kill at the wrong moment."""
    if my_job() is None:
        return
    import submitit

    result = submitit.JobEnvironment().paths.result_pickle
    result.with_name(result.name + ".save_tmp").unlink(missing_ok=True)
