"""Jobs of Slurm: their script, how submitit submits them, and how one is adopted whose answer was lost."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpc_curate import config
from hpc_curate.cluster import container, slurm
from hpc_curate.cluster.container import Inside
from hpc_curate.cluster.slurm import Answer, Limits, Task
from hpc_curate.errors import ConfigError, SchedulerError, Unanswered
from hpc_curate.plan import Plan
from hpc_curate.run_folder import privacy, submissions
from hpc_curate.run_folder.submissions import RELAY, Submission
from hpc_curate.stage import Resources

START_ME_AGAIN = 75  # the exit code; EX_TEMPFAIL of sysexits.h
# Of these nobody knows whether the controller has the job; any other word is a refusal.
_LOST = re.compile(r"timed out|zero bytes|killed|communication|make sense|unexpected message", re.IGNORECASE)
_BUSY = re.compile(r"temporarily un|unable to contact", re.IGNORECASE)  # of these it surely has not
_LISTS = ("setup", "teardown", "srun_args")  # of launch.sbatch: come on top of ours


@dataclass(frozen=True)
class Slurm:
    """The scheduler of a plan's stages."""

    plan: Plan
    payload: Callable[..., None]  # of an element: (plan file, stage, submission, index)
    relay: Callable[..., None]  # of the job that queues the next wave: (plan file, submission)

    def limits(self) -> Limits:
        return slurm.limits(self.plan.settings["launch"])

    def queue(self) -> list[Task]:
        others = submissions.every(self.plan.paths) if privacy.shareable(self.plan.settings) else []
        return slurm.queue({one.user for one in others})

    def recheck(self, names: Sequence[str], since: float) -> Answer:
        answer = slurm.recheck(names, since)
        return replace(answer, of_all=privacy.shareable(self.plan.settings) and slurm.shows_jobs_of_all())

    def submit(self, submission: Submission, after: Sequence[str]) -> str:
        """One sbatch, tried again where Slurm is too busy to take it; returns the job's id.

        Raises:
            ConfigError: launch.sbatch has what submitit does not know.
            Unanswered: the job may have been accepted.
            SchedulerError: it was refused.
        """
        for wait_s in slurm.RETRY_AFTER_S:
            try:
                return self._sbatch(submission, after)
            except SchedulerError as error:
                if not _BUSY.search(str(error)):
                    raise
            time.sleep(wait_s)
        return self._sbatch(submission, after)

    def _sbatch(self, submission: Submission, after: Sequence[str]) -> str:
        from submitit.core.utils import FailedJobError

        folder = submissions.log_folder(self.plan, submission)
        calls = list(self._calls(submission))
        try:
            with _outside_a_job(), privacy.written_by_me_alone():
                made = executor(self.plan, submission, after, folder)
                jobs = made.map_array(calls[0][0], *zip(*(arguments for _, arguments in calls), strict=True))
        except (TypeError, ValueError) as error:
            raise _unknown_option(error) from error
        except (FailedJobError, RuntimeError, OSError) as error:
            said = reason(error)
            if _LOST.search(said) or not said:
                raise Unanswered(f"sbatch has no answer for stage {submission.stage}: {said or 'no word'}") from error
            hint = "hpc-curate doctor, with the same overrides, says what would do"
            if "MaxSubmit" in str(error):
                hint = "set launch.max_submit_jobs to what you may queue"
            raise SchedulerError(f"sbatch refused stage {submission.stage}: {said}; {hint}") from error
        return str(jobs[0].job_id).split("_")[0]

    def adopt(self, submission: Submission, job_id: str) -> None:
        """Give a job of ours its pickles, which it looks for under its id, for a minute from its start on."""
        from submitit.core.utils import DelayedSubmission, JobPaths

        folder = submissions.log_folder(self.plan, submission)
        for index, (function, arguments) in enumerate(self._calls(submission)):
            own = job_id if len(submission.elements) == 1 else f"{job_id}_{index}"
            pickled = JobPaths(folder, job_id=own).submitted_pickle
            if not pickled.exists():
                delayed = DelayedSubmission(function, *arguments)
                delayed.set_timeout(resources(self.plan, submission.stage).minutes, 0)
                with privacy.written_by_me_alone():
                    delayed.dump(pickled)

    def _calls(self, submission: Submission) -> Iterator[tuple[Callable[..., None], tuple[str, ...]]]:
        """What the elements call: a module-level function and strings."""
        file = str(self.plan.file)
        if submission.stage == RELAY:
            yield self.relay, (file, submission.name)
            return
        for index in range(len(submission.elements)):
            yield self.payload, (file, submission.stage, submission.name, str(index))


def resources(plan: Plan, stage: str) -> Resources:
    """What a task of a stage, or a relay, is given."""
    if stage != RELAY:
        return plan.steps[stage].resources
    made: Resources = config.make(Resources, plan.settings["launch"]["relay"], "launch.relay")
    return made


def executor(plan: Plan, submission: Submission, after: Sequence[str], folder: Path) -> Any:
    """submitit's, with all that the arrays of a stage are given; it un-pickles what lies in its folder.

    Raises:
        ValueError, TypeError: launch.sbatch has what submitit does not know.
    """
    import submitit

    outside = plan.settings["launch"]["python"] or shlex.quote(sys.executable)
    # A relay calls sbatch, which no container has.
    inside = Inside(outside) if submission.stage == RELAY else container.inside(plan, submission.stage)
    made = submitit.SlurmExecutor(folder=folder, python=inside.python)
    made.update_parameters(**parameters(plan, submission, after, inside.srun_args))
    return made


def script(plan: Plan, submission: Submission, after: Sequence[str]) -> str:
    """What sbatch would be given for a submission; nothing is written or queued.

    Raises:
        ConfigError: launch.sbatch has what submitit does not know.
    """
    try:
        made = executor(plan, submission, after, plan.paths.logs(submission.stage, submission.user))
    except (TypeError, ValueError) as error:
        raise _unknown_option(error) from error
    if len(submission.elements) > 1:
        made.parameters["map_count"] = len(submission.elements)
    return str(made._make_submission_file_text(made._submitit_command_str, ""))


def _unknown_option(error: Exception) -> ConfigError:
    return ConfigError(f"launch.sbatch has what submitit does not know: {str(error).splitlines()[0]}")


def partition(plan: Plan, stage: str) -> str | None:
    """Where a stage goes; None: to the cluster's default."""
    mine, settings = resources(plan, stage), plan.settings["launch"]
    asked = mine.partition or settings["gpu_partition" if mine.gpus else "cpu_partition"]
    named: str | None = settings["sbatch"].get("partition", asked)
    return named


def parameters(
    plan: Plan, submission: Submission, after: Sequence[str] = (), srun_args: Sequence[str] = ()
) -> dict[str, Any]:
    """What submitit's Slurm executor is given for one array; launch.sbatch has the last word.

    Args:
        srun_args: of its container.
    """
    settings = plan.settings["launch"]
    mine = resources(plan, submission.stage)
    workers = mine.workers_per_element
    gpus = mine.gpus * workers
    own = {**dict.fromkeys(_LISTS, ()), "exclude": None, "additional_parameters": {}, **settings["sbatch"]}
    given: dict[str, Any] = {
        "job_name": submission.name,
        "partition": partition(plan, submission.stage),
        "time": mine.minutes,
        "nodes": 1,
        "ntasks_per_node": workers,
        "cpus_per_task": mine.cpus,
        "mem": f"{round(mine.memory_gb * workers * 1000)}M",
        "gres": f"gpu:{gpus}" if gpus else None,
        "signal_delay_s": settings["grace_s"],
        "array_parallelism": settings["array_parallelism"],
        "dependency": "afterany:" + ":".join(dict.fromkeys(after)) if after else None,
        "stderr_to_stdout": True,
        **own,
    }
    again = _again_file(plan, submission) if workers > 1 else None
    given["exclude"] = ",".join(filter(None, [own["exclude"], *submission.exclude])) or None
    given["setup"] = [*settings["setup"], *own["setup"]] or None
    given["teardown"] = _teardown(own["teardown"], again)
    given["srun_args"] = [*_srun_args(workers, given["cpus_per_task"]), *srun_args, *own["srun_args"]]
    always = {"kill-on-invalid-dep": "yes", "open-mode": "append", "requeue": True}
    given["additional_parameters"] = {**always, **own["additional_parameters"]}
    return {key: value for key, value in given.items() if value is not None and value is not False}


def _srun_args(workers: int, cpus: int | None) -> list[str]:
    # srun takes the count of CPUs from the script's options no longer (since Slurm 22.05).
    args = [f"--cpus-per-task={cpus}"] if cpus else []
    if workers > 1:
        args += ["--kill-on-bad-exit=0", "--wait=0"]  # the others finish what they have
    return args


def _teardown(lines: Sequence[str], again: str | None) -> list[str]:
    """Shell lines after srun: an element that says so is started again.

    Here and not in the task, because no container has scontrol. Where Slurm ends a job (scancel, walltime), this
    shell is killed with it, and nobody undoes that. A task that heeds the warning of a preemption has to ask, because
    Slurm requeues only what it had to kill.
    """
    job = "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
    wanted = f'[ "$hpc_curate_code" = {START_ME_AGAIN} ]'
    if again:  # srun returns the highest code, which a kill has raised above ours
        wanted = f"{wanted} || [ -e {again} ]"
    clean = [f"  rm -f {again}"] if again else []
    requeue = [f"if {wanted}; then", *clean, f'  scontrol requeue "{job}"', "fi"]
    return ["hpc_curate_code=$?", *lines, *requeue, 'exit "$hpc_curate_code"']


def _again_file(plan: Plan, submission: Submission) -> str:
    """Shell words for the file that `again` names."""
    path = plan.paths.again(plan.paths.logs(submission.stage, submission.user), "$SLURM_JOB_ID")
    return f'{shlex.quote(str(path.parent))}/"{path.name}"'


@contextmanager
def _outside_a_job() -> Iterator[None]:
    """Where a job submits another, that one must not inherit what Slurm and submitit have told the first."""
    prefixes = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_") if slurm.my_job() else ()
    names = [name for name in os.environ if name.startswith(prefixes) and name != "SLURM_CONF"]
    told = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(told)


def reason(error: BaseException) -> str:
    """The line of sbatch that says why."""
    lines = str(error).strip().splitlines()
    return next((line for line in reversed(lines) if "error:" in line), lines[-1] if lines else "")
