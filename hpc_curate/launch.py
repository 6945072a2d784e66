"""From missing units to running elements: in this process, in processes of this machine, or as Slurm job arrays.

What submitit pickles is `element` and four strings, or `relay` and two.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_curate import config
from hpc_curate import plan as plans
from hpc_curate.cluster import slurm, slurm_jobs
from hpc_curate.cluster.slurm_jobs import START_ME_AGAIN
from hpc_curate.cluster.waves import Wave
from hpc_curate.element import binding
from hpc_curate.element.binding import Place
from hpc_curate.element.worker import Allocation, Element, catch_signals
from hpc_curate.errors import ConfigError, CurateError, Preempted, UnitFailed
from hpc_curate.io import delivery
from hpc_curate.monitoring import standing
from hpc_curate.nearest import nearest
from hpc_curate.plan import Plan
from hpc_curate.plural import counted
from hpc_curate.run_folder import privacy, submissions
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.run_folder.submissions import Submission
from hpc_curate.stage import Resources

if TYPE_CHECKING:
    import submitit

log = logging.getLogger(__name__)

_POLL_S = 0.5
_TELL_S = 30.0  # between lines of how far a stage is, unless launch.tell_s says otherwise
_LOOK_SHARE = 20  # times as long as a look took until the next one
_RESTARTS = 50


@dataclass(frozen=True)
class Without:
    """What is left out."""

    hosts: tuple[str, ...] = ()  # that nothing may run on, where there are several
    units: Mapping[str, Collection[int]] = field(default_factory=dict)  # of stages, this time

    def missing(self, state: State, name: str) -> list[int]:
        """The units of a stage that are not done, and not left out."""
        return [unit for unit in state.missing(name) if unit not in self.units.get(name, ())]


def run(plan: Plan, without: Without | None = None) -> None:
    """Bring a plan as far as the launcher can: to its end here, or into the queue.

    Raises:
        CurateError: a stage did not finish (inline, local), or Slurm refused.
    """
    privacy.apply(plan.settings)
    _recheck_delivery(plan)
    kinds: dict[str, Callable[[Plan, Without], None]]
    kinds = {"inline": _run_here, "local": _run_here, "slurm": _queue, "none": _leave_to_others}
    kind = plan.settings["launch"]["kind"]
    if kind not in kinds:
        raise ConfigError(f"launch.kind='{kind}' is no launcher; {nearest(kind, kinds)}")
    kinds[kind](plan, without or Without())


def _leave_to_others(_plan: Plan, _without: Without) -> None:
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
    """The payload of one array element: does this worker's share of its units; the exit code is that of `work`."""
    _log_to_stderr()
    slurm.clear_stale_result()
    plan = plans.load(Path(plan_file))
    privacy.apply(plan.settings)
    record = _my_record(plan, submission)
    resources = plan.steps[stage].resources
    units = record.elements[int(index)]
    if record.here:
        place = Place(int(index), len(record.elements))
        binding.bind(binding.share(place, resources.gpus, record.gpus, ()))
    elif resources.workers_per_element > 1:
        place = Place(slurm.my_rank(), resources.workers_per_element)
        cpus = sorted(os.sched_getaffinity(0))
        binding.bind(binding.share(place, resources.gpus, binding.visible_gpus(), cpus, slurm.my_cpus()))
        units = units[place.rank :: place.workers]
    code = work(plan, stage, units)
    if code == START_ME_AGAIN and resources.workers_per_element > 1:
        plan.paths.again(submissions.log_folder(plan, record), slurm.my_id()).touch()
    if code:
        sys.exit(code)


def relay(plan_file: str, submission: str) -> None:
    """The payload of the job that queues the next wave; where it cannot, it leaves word for `status`."""
    _log_to_stderr()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which submitit would ignore
    plan = plans.load(Path(plan_file))
    privacy.apply(plan.settings)
    record = _my_record(plan, submission)
    try:
        _queue(plan, Without(record.exclude, dict(record.left_out)), record)
    except CurateError as error:
        repeat = f"hpc-curate retry {plan.paths.root} --plan {plan.hash}"
        word = f"the next wave could not be queued on {socket.gethostname()}: {error}. Where sbatch works: {repeat}"
        submissions.write(plan.paths, replace(submissions.read(plan.paths.submission(submission)), word=word))
        log.error("%s", word)
        sys.exit(1)


def _my_record(plan: Plan, submission: str) -> Submission:
    try:
        return submissions.mine(plan.paths, submission)
    except ConfigError as error:
        log.error("%s", error)
        sys.exit(2)


def work(plan: Plan, stage: str, units: Sequence[int]) -> int:
    """Do units of a stage in this process, as a task of whatever has started it.

    Returns the exit code: 0 all of them are done, 1 some are not (the log and the ledger say why), 75 stopped by a
    signal or the walltime: start me again.
    """
    _log_to_stderr()
    privacy.apply(plan.settings)
    grace_s = plan.settings["launch"].get("grace_s", 60)
    task = Element(plan, stage, _allocation(grace_s))
    catch_signals(task, grace_s / 2)
    try:
        open_units = task.run(units)
    except Preempted as error:
        log.warning("%s: %s", stage, error)
        if slurm.my_restarts() < plan.settings["launch"].get("restarts", _RESTARTS):
            return START_ME_AGAIN
        log.error("%s: started again %s, launch.restarts allows no more", stage, counted(slurm.my_restarts(), "time"))
        return 1
    if open_units:
        log.error("%s: %d of %s not done; hpc-curate logs shows why", stage, open_units, counted(len(units), "unit"))
    return int(open_units > 0)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)


def _allocation(grace_s: float) -> Allocation:
    job = slurm.my_job()
    if job is None:
        # Logs carry the number of the process that has started this one.
        return Allocation(job=f"local-{os.environ.get('SUBMITIT_LOCAL_JOB_ID') or os.getpid()}")
    return Allocation(job=job, restarts=slurm.my_restarts(), deadline=slurm.my_deadline(grace_s))


# -- on this machine -----------------------------------------------------------------------------------------------


def _run_here(plan: Plan, without: Without) -> None:
    inline = plan.settings["launch"]["kind"] == "inline"
    ledger = Ledger(plan.paths)
    for name in plan.steps:
        missing = without.missing(State(plan, ledger), name)
        if not missing:
            log.info("%-8s nothing to do", name)
            continue
        began = time.time()
        if inline:
            Element(plan, name, Allocation()).run(missing)
        else:
            _run_slots(plan, name, missing)
        _expect_done(plan, ledger, name)
        log.info("%-8s %s in %.1f s", name, counted(len(missing), "unit"), time.time() - began)


def _expect_done(plan: Plan, ledger: Ledger, name: str) -> None:
    state = State(plan, ledger)
    lost = [unit for unit in state.missing(name) if not (state.allow_failed and state.failed(name, unit))]
    if not lost:
        return
    found = {one.unit: one for one in standing.of_stage(state, name, standing.queue(plan))}
    why = found[lost[0]].last_line or "no word from its worker; see its log"
    raise UnitFailed(
        f"{name}: {len(lost)} of {counted(plan.steps[name].units, 'unit')} not done. Unit {lost[0]}: {why}\n"
        f"Logs are in {plan.paths.logs(name)}; the same command again, or hpc-curate retry, does what is missing"
    )


def _run_slots(plan: Plan, name: str, missing: Sequence[int]) -> None:
    """Share the units between processes of this machine and wait for them.

    Raises:
        UnitFailed: somebody has cancelled them.
    """
    import submitit

    resources = plan.steps[name].resources
    gpus = binding.visible_gpus() if resources.gpus else ()
    slots = _slots(plan.settings["launch"].get("slots"), resources, len(gpus))
    submission = submissions.prepare(plan, name, submissions.deal(missing, slots), gpus=gpus, here=True)
    executor = submitit.LocalExecutor(folder=submissions.log_folder(plan, submission))
    executor.update_parameters(timeout_min=7 * 24 * 60, stderr_to_stdout=True)
    jobs: list[submitit.Job[None]] = []
    try:
        with privacy.written_by_me_alone(), _quiet(executor.folder):
            for index in range(len(submission.elements)):
                jobs.append(executor.submit(element, str(plan.file), name, submission.name, str(index)))
        submissions.write(plan.paths, _with_pids(submission, jobs))
        _wait(jobs, partial(_progress, plan, name), plan.settings["launch"].get("tell_s", _TELL_S))
    except BaseException:
        try:
            submissions.write(plan.paths, replace(_with_pids(submission, jobs), word="interrupted"))
        finally:  # also where the disk is full
            for job in jobs:
                job.cancel()  # what has not ended a second later is killed
            _wait(jobs)
        raise
    if word := submissions.read(plan.paths.submission(submission.name)).word:
        left = f"{len(State(plan, Ledger(plan.paths)).missing(name))} of {counted(plan.steps[name].units, 'unit')}"
        raise UnitFailed(f"{name}: {word}, {left} not done; the same command goes on, and so does hpc-curate retry")


def _with_pids(submission: Submission, jobs: Sequence[submitit.Job[None]]) -> Submission:
    """The record of what was started, which may be a part only."""
    pids, started = tuple(str(job.job_id) for job in jobs), submission.elements[: len(jobs)]
    return replace(submission, elements=started, job_id=f"local-{pids[0]}" if pids else None, pids=pids)


def _wait(jobs: Sequence[submitit.Job[None]], told: Callable[[], str] = str, every_s: float = math.inf) -> None:
    """Until all have ended; meanwhile log how far they are, without spending more than a part of the time on that."""
    next_s = time.monotonic() + every_s
    while any(not job.done() for job in jobs):
        time.sleep(_POLL_S)
        if (began := time.monotonic()) >= next_s:
            log.info("%s", told())
            ended = time.monotonic()
            next_s = ended + max(every_s, _LOOK_SHARE * (ended - began))


def _progress(plan: Plan, name: str) -> str:
    from hpc_curate.monitoring import overview
    from hpc_curate.report import progress

    try:
        return progress.at_work(next(stage for stage in overview.look(plan).stages if stage.stage == name))
    except (CurateError, OSError) as error:  # who looks on must not stop those who work
        return f"{name:8} is at work; how far it is cannot be seen: {error}"


@contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """What is started meanwhile has a file for its stderr: an interrupt reaches it too, and it would say where."""
    ours = os.dup(2)
    with (folder / "controllers.err").open("ab") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(ours, 2)
            os.close(ours)


def _slots(asked: int | None, resources: Resources, gpus: int) -> int:
    """As many tasks as cores, memory and GPUs allow."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    most = asked or min(cores // max(1, resources.cpus), int(memory_gb // resources.memory_gb))
    if resources.gpus > gpus:
        seen = counted(gpus, "GPU")
        log.warning("this machine shows %s, a task asks for %d: it runs with what there is", seen, resources.gpus)
    if resources.gpus and gpus:
        most = min(most, gpus // resources.gpus)
    return max(1, most)


# -- Slurm ---------------------------------------------------------------------------------------------------------


def _queue(plan: Plan, without: Without, relayed: Submission | None = None) -> None:
    """Queue the line, each stage behind the arrays of the stages that it waits for, and return."""
    if "%" in str(plan.paths.root):
        raise ConfigError(f"run_dir={plan.paths.root}: Slurm reads % in the names of logs as a pattern; choose another")
    state = State(plan, Ledger(plan.paths))
    scheduler = slurm_jobs.Slurm(plan, element, relay)
    Wave(plan, scheduler, partial(without.missing, state), relayed, without.hosts, without.units).queue()
