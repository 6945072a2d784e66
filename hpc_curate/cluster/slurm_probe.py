"""Would a stage's array be taken, and what does a task of it find where it runs? Asked with the stage's own options."""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc_curate.cluster import slurm, slurm_jobs
from hpc_curate.cluster.slurm_site import last_line
from hpc_curate.errors import SchedulerError
from hpc_curate.io import tables
from hpc_curate.plan import Plan
from hpc_curate.planning.checks import node
from hpc_curate.run_folder.submissions import Submission

_MINUTES = 5  # the job takes less than one; an interpreter on a cold file system may take more
_POLL_S = 0.5
_FIRST_ASK_S, _ASK_EVERY_S = 5.0, 15.0
_LATE_S = 30.0  # that a file may take from a node to here, after the job has ended
_END_S = 10.0  # between the answer and the end of the process
_WAITS, _RUNS, _OVER = "waits", "runs", "is over"
_NO_ANSWER = ("Unable to contact", "did not answer", "timed out")


@dataclass
class Probe:
    """A stage that stands for all that are queued like it, and the files of its job."""

    plan: Plan
    stage: str
    folder: Path  # private: what submitit finds in it is un-pickled
    name: str = field(default_factory=lambda: f"hpc-doctor-{uuid.uuid4().hex[:8]}")
    schemes: Sequence[str] = ()  # of the videos: their tools are looked at
    job_id: str = ""

    @property
    def submission(self) -> Submission:
        return Submission(self.name, self.stage, self.plan.hash, "", "", ((0,),), time.time())

    @property
    def script(self) -> Path:
        return self.folder / f"{self.name}.sh"

    @property
    def answer(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def relayed(self) -> Path:
        """What Slurm's commands said on the node, outside any container."""
        return self.folder / f"{self.name}.relay"


@dataclass(frozen=True)
class Outcome:
    """What a job has seen, or why it has seen nothing."""

    facts: node.Facts | None
    word: str = ""
    started: bool = True


def parameters(plan: Plan, stage: str) -> dict[str, Any]:
    """What submitit is given for the arrays of a stage."""
    return slurm_jobs.parameters(plan, Probe(plan, stage, Path()).submission, ())


def refused(probe: Probe) -> str:
    """Why sbatch would not take an array of this stage; empty where it would. Nothing is queued.

    Raises:
        ConfigError: launch.sbatch has what submitit does not know.
        SchedulerError: Slurm does not answer.
    """
    _write_script(probe)
    try:
        slurm.ask(["sbatch", "--test-only", str(probe.script)])
    except SchedulerError as error:
        if any(word in str(error) for word in _NO_ANSWER):
            raise
        return last_line(str(error)).removeprefix("sbatch: error: ")
    return ""


def submit(probe: Probe) -> None:
    """Queue a job with all that a task of the stage is given but for its walltime.

    Raises:
        ConfigError: launch.sbatch has what submitit does not know.
        SchedulerError: sbatch refused.
    """
    from submitit.core.utils import FailedJobError

    _write_script(probe)
    executor = slurm_jobs.executor(probe.plan, probe.submission, (), probe.folder)
    given = executor.parameters
    more = {**(given.get("additional_parameters") or {}), "no-requeue": True}
    more.pop("requeue", None)
    setup = [*(given.get("setup") or []), _relay_line(probe)]
    given.update(time=_MINUTES, ntasks_per_node=1, setup=setup, teardown=None, additional_parameters=more)
    gpus = probe.plan.steps[probe.stage].resources.gpus
    try:
        job = executor.submit(
            node.report, json.dumps(probe.plan.settings), str(gpus), " ".join(probe.schemes), str(probe.answer)
        )
    except (FailedJobError, RuntimeError, OSError) as error:
        slurm.cancel_named(probe.name)
        raise SchedulerError(slurm_jobs.reason(error)) from error
    probe.job_id = str(job.job_id)


def _write_script(probe: Probe) -> None:
    """What sbatch is given for an array of the stage; submitit refuses to make it where Slurm is not installed."""
    try:
        tables.write_text(probe.script, slurm_jobs.script(probe.plan, probe.submission, ()))
    except RuntimeError as error:
        raise SchedulerError(last_line(str(error))) from error


def _relay_line(probe: Probe) -> str:
    """A shell line that tries what a task needs to requeue itself and to queue the next wave."""
    commands = {"sbatch": f"sbatch --test-only {shlex.quote(str(probe.script))}", "scontrol": "scontrol ping"}
    words = '"$(echo "$said" | tr "\\n" " ")"'
    tried = [
        f"said=$(timeout 60 {command} 2>&1 </dev/null); echo {name} $? {words}" for name, command in commands.items()
    ]
    return f"( {'; '.join(tried)} ) >{shlex.quote(str(probe.relayed))}"


def relay(probe: Probe) -> dict[str, str]:
    """Why sbatch and scontrol do not work where the job ran; empty where they do."""
    why = dict.fromkeys(("sbatch", "scontrol"), "no word of it")
    try:
        said = probe.relayed.read_text(errors="replace")
    except OSError:
        return why
    for line in said.splitlines():
        name, _, rest = line.partition(" ")
        code, _, words = rest.partition(" ")
        if name in why:
            why[name] = "" if code == "0" else words or f"exit code {code}"
    return why


def wait(probe: Probe, wait_s: float) -> Outcome:
    """What the job has seen. The answer is a file; Slurm is asked every 15 s only."""
    began = time.monotonic()
    ask_at, deadline, state, reason = began + _FIRST_ASK_S, began + wait_s, _WAITS, ""
    while (facts := tables.read_json(probe.answer)) is None:
        now = time.monotonic()
        if state != _OVER and now >= min(ask_at, deadline):
            ask_at, (state, reason) = now + _ASK_EVERY_S, _state(probe, state)
            if state == _RUNS:
                deadline = began + wait_s + 60 * _MINUTES
            elif state == _OVER:
                deadline = now + _LATE_S
        if now >= deadline:
            break
        time.sleep(_POLL_S)
    if isinstance(facts, dict):
        return Outcome(facts)
    if state == _WAITS:
        return Outcome(None, f"job {probe.job_id} did not start within {wait_s:.0f} s ({reason or '?'})", started=False)
    return Outcome(None, f"job {probe.job_id} gave no answer ({reason}): {_last_words(probe)}")


def _state(probe: Probe, before: str) -> tuple[str, str]:
    """Of the job, and Slurm's reason; as before where Slurm does not answer."""
    try:
        said = slurm.ask(["squeue", "--noheader", "--states=all", f"--jobs={probe.job_id}", "--format=%T|%r"]).strip()
    except SchedulerError as error:
        return (_OVER, "Slurm has forgotten it") if "nvalid job id" in str(error) else (before, last_line(str(error)))
    name, _, reason = said.partition("|")
    if not name or slurm.Task(probe.job_id, 0, probe.name, name).ended:
        return _OVER, name or "Slurm has forgotten it"
    return (_WAITS if name in ("PENDING", "CONFIGURING") else _RUNS), reason


def _last_words(probe: Probe) -> str:
    """The end of the job's log."""
    logs = sorted(probe.folder.glob(f"{probe.job_id}*_log.*"))
    lines = [line for path in logs for line in path.read_text(errors="replace").split("\n") if line.strip()]
    return " / ".join(lines[-3:]) or "there is no log either"


def finish(probes: Sequence[Probe]) -> None:
    """Cancel what has given no answer; let the others write what submitit writes at the end."""
    for probe in probes:
        if not probe.answer.exists():
            slurm.cancel_named(probe.name)
            continue
        end = time.monotonic() + _END_S
        while not list(probe.folder.glob(f"{probe.job_id}*_result.pkl")) and time.monotonic() < end:
            time.sleep(_POLL_S)
