"""From missing units to running elements: in this process, in processes of this machine, or as Slurm job arrays.

The only module that knows submitit. What submitit pickles is `element` and four strings.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc_curate import config, container, slurm, submissions
from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError, Preempted, SchedulerError, UnitFailed
from hpc_curate.io import delivery
from hpc_curate.ledger import Ledger
from hpc_curate.nearest import nearest
from hpc_curate.plan import Plan
from hpc_curate.stage import Resources
from hpc_curate.state import State
from hpc_curate.submissions import Submission
from hpc_curate.worker import Allocation, Element, catch_signals

log = logging.getLogger(__name__)

START_ME_AGAIN = 75  # the exit code; EX_TEMPFAIL of sysexits.h
_POLL_S = 0.5


def run(plan: Plan) -> None:
    """Bring a plan as far as the launcher can: to its end here, or into the queue.

    Raises:
        CurateError: a stage did not finish (inline, local), or Slurm refused.
    """
    _recheck_delivery(plan)
    kinds = {"inline": _run_here, "local": _run_here, "slurm": _queue, "none": _leave_to_others}
    kind = plan.settings["launch"]["kind"]
    if kind not in kinds:
        raise ConfigError(f"launch.kind='{kind}' is no launcher; {nearest(kind, kinds)}")
    kinds[kind](plan)


def _leave_to_others(plan: Plan) -> None:
    log.info("the plan is saved, and nothing is started: launch=none")


def _recheck_delivery(plan: Plan) -> None:
    """Before anything is queued: can the place of the data set be reached, and does it hold what the ledger says?"""
    output = config.output(plan.settings)
    if "pack" not in plan.steps or not delivery.is_store(output):
        return
    # Before selection nobody knows the signature; any name will do to knock.
    signature = State(plan, Ledger(plan.paths)).signature("pack") or plan.hash
    at = delivery.place(output, plan.paths, signature)
    delivery.recheck(at, plan.paths.receipts(signature), config.source(plan.settings))


def element(plan_file: str, stage: str, submission: str, index: str) -> None:
    """The payload of one array element; its exit code is that of `work`."""
    slurm.clear_stale_result()
    plan = plans.load(Path(plan_file))
    code = work(plan, stage, submissions.read(plan.paths.submission(submission)).elements[int(index)])
    if code:
        sys.exit(code)


def work(plan: Plan, stage: str, units: Sequence[int]) -> int:
    """Do units of a stage in this process, as a task of whatever has started it.

    Returns the exit code: 0 all of them are done, 1 some are not (the log and the ledger say why), 75 stopped by a
    signal or the walltime: start me again.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    grace_s = plan.settings["launch"].get("grace_s", 60)
    task = Element(plan, stage, _allocation(grace_s))
    catch_signals(task, grace_s / 2)
    try:
        open_units = task.run(units)
    except Preempted as error:
        log.warning("%s: %s", stage, error)
        slurm.requeue_myself(task.stopped)
        return START_ME_AGAIN
    if open_units:
        log.error("%s: %d of %d units are not done; hpc-curate logs shows why", stage, open_units, len(units))
    return int(open_units > 0)


def _allocation(grace_s: float) -> Allocation:
    job = slurm.my_job()
    if job is None:
        return Allocation(job=f"local-{os.getpid()}")
    return Allocation(job=job, requeued=slurm.my_restarts() > 0, deadline=slurm.my_deadline(grace_s))


# -- on this machine -----------------------------------------------------------------------------------------------


def _run_here(plan: Plan) -> None:
    inline = plan.settings["launch"]["kind"] == "inline"
    ledger = Ledger(plan.paths)
    for name in plan.steps:
        missing = State(plan, ledger).missing(name)
        if not missing:
            log.info("%-8s already done", name)
            continue
        began = time.time()
        if inline:
            Element(plan, name, Allocation()).run(missing)
        else:
            _run_slots(plan, name, missing)
        _expect_done(plan, ledger, name)
        log.info("%-8s %d units in %.1f s", name, len(missing), time.time() - began)


def _expect_done(plan: Plan, ledger: Ledger, name: str) -> None:
    state = State(plan, ledger)
    lost = [unit for unit in state.missing(name) if not (state.allow_failed and state.failed(name, unit))]
    if not lost:
        return
    signature = state.signature(name) or plan.static_signature(name)
    why = ledger.attempt(name, signature, lost[0])
    lines = (why.message or "no word from its worker; see its log").strip().splitlines()
    raise UnitFailed(
        f"{name}: {len(lost)} of {plan.steps[name].units} units are not done. Unit {lost[0]}: {lines[-1]}\n"
        f"Logs are in {plan.paths.logs(name)}; the same command again, or hpc-curate retry, does what is missing"
    )


def _run_slots(plan: Plan, name: str, missing: Sequence[int]) -> None:
    """Share the units between processes of this machine and wait for them."""
    import submitit

    slots = _slots(plan.settings["launch"].get("slots"), plan.steps[name].resources)
    submission = submissions.prepare(plan, name, submissions.deal(missing, slots))
    executor = submitit.LocalExecutor(folder=_private(plan.paths.logs(name)))
    executor.update_parameters(timeout_min=7 * 24 * 60, stderr_to_stdout=True)
    jobs = [
        executor.submit(element, str(plan.file), name, submission.name, str(index))
        for index in range(len(submission.elements))
    ]
    pids = tuple(str(job.job_id) for job in jobs)
    submissions.write(plan.paths, replace(submission, job_id=f"local-{pids[0]}", pids=pids))
    try:
        while any(not job.done() for job in jobs):
            time.sleep(_POLL_S)
    except BaseException:
        for job in jobs:
            job.cancel()
        raise


def _slots(asked: int | None, resources: Resources) -> int:
    """As many tasks as cores and memory allow."""
    if asked:
        return asked
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores // max(1, resources.cpus), int(memory_gb // resources.memory_gb)))


def _private(folder: Path) -> Path:
    """submitit un-pickles what it finds in its folder, so nobody else may write there."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


# -- Slurm ---------------------------------------------------------------------------------------------------------


def _queue(plan: Plan) -> None:
    """Queue the whole line, each stage behind the arrays of the stages that it waits for, and return."""
    settings = plan.settings["launch"]
    limits = slurm.limits(settings)
    live = slurm.live(submissions.every(plan.paths))
    ledger = Ledger(plan.paths)
    state = State(plan, ledger)
    share = max(1, limits.submit_jobs // len(plan.steps))
    jobs: dict[str, list[str]] = {}
    for name, step in plan.steps.items():
        mine = [one for one in live if one.submission.stage == name]
        covered = {unit for one in mine if one.submission.work == plan.work_signature(name) for unit in one.units}
        jobs[name] = [one.job_id for one in mine if one.submission.content == plan.static_signature(name)]
        missing = [unit for unit in state.missing(name) if unit not in covered]
        if not missing:
            log.info("%-8s %s", name, f"{len(covered)} units are queued already" if covered else "done")
            continue
        after = [job for before in step.waits_for for job in jobs[before]] + jobs[name]
        most = min(share, -(-len(missing) // step.resources.units_per_element))
        for elements in submissions.in_arrays(submissions.deal(missing, most), limits.array_size):
            submission = submissions.prepare(plan, name, elements)
            job_id = _submit(plan, submission, after)
            submissions.write(plan.paths, replace(submission, job_id=job_id))
            jobs[name].append(job_id)
        log.info("%-8s %d units queued as %s", name, len(missing), ", ".join(jobs[name]))


def executor(plan: Plan, submission: Submission, after: Sequence[str], folder: Path) -> Any:
    """submitit's, with all that the arrays of a stage are given; it un-pickles what lies in its folder.

    Raises:
        ValueError, TypeError: launch.sbatch has what submitit does not know.
    """
    import submitit

    inside = container.inside(plan, submission.stage)
    made = submitit.SlurmExecutor(folder=folder, python=inside.python)
    made.update_parameters(**slurm.parameters(plan, submission, after), srun_args=list(inside.srun_args))
    return made


def _submit(plan: Plan, submission: Submission, after: Sequence[str]) -> str:
    """One sbatch through submitit; a job that was accepted without an answer is taken back first."""
    from submitit.core.utils import FailedJobError

    folder = _private(plan.paths.logs(submission.stage))
    try:
        indices = [str(index) for index in range(len(submission.elements))]
        count = len(indices)
        jobs: list[Any] = executor(plan, submission, after, folder).map_array(
            element, [str(plan.file)] * count, [submission.stage] * count, [submission.name] * count, indices
        )
    except (TypeError, ValueError) as error:
        plan.paths.submission(submission.name).unlink(missing_ok=True)
        raise ConfigError(f"launch.sbatch has what submitit does not know: {str(error).splitlines()[0]}") from error
    except (FailedJobError, RuntimeError, OSError) as error:
        slurm.cancel_named(submission.name)
        plan.paths.submission(submission.name).unlink(missing_ok=True)
        raise SchedulerError(f"sbatch refused stage {submission.stage}: {slurm.reason(error)}") from error
    return str(jobs[0].job_id).split("_")[0]
