"""What Hydra's launchers call, in this process or on another machine, now or when Slurm gets to it."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_curate import launch
from hpc_curate import plan as plans
from hpc_curate.cluster import slurm
from hpc_curate.config import Work
from hpc_curate.errors import ConfigError, CurateError
from hpc_curate.nearest import nearest
from hpc_curate.plan import Plan
from hpc_curate.stage import Merge

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One job of a sweep."""

    plan_file: str
    stages: tuple[str, ...] = ()  # none: the whole line, as `launch` says
    units: tuple[int, ...] = ()


@dataclass(frozen=True)
class Jobs:
    """The function that Hydra is given: each job by its overrides.

    It holds the names of saved plans and nothing else. The configuration that a launcher hands to it was composed
    where the job runs, from what the YAML says by then, and is not looked at.
    """

    planned: dict[tuple[str, ...], Job]
    elsewhere: bool  # a launcher starts a process per job

    def __call__(self, _composed: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        overrides = tuple(HydraConfig.get().overrides.task)
        job = next(iter(self.planned.values())) if len(self.planned) == 1 else self.planned[overrides]
        if self.elsewhere:
            _end_well_or_not(job)
        elif code := do(job):
            sys.exit(code)  # passes through Hydra, which would print a traceback for an error of ours


def planned(plan: Plan, work: Work) -> Job:
    """A job of a saved plan.

    Raises:
        ConfigError: it names a stage or unit that the plan has not.
    """
    stages = chosen(plan, work.stages, work.units) if work.stages or work.units else ()
    return Job(str(plan.file), stages, work.units)


def do(job: Job) -> int:
    """Returns the exit code: 0 well, 1 something failed, 2 a wrong question, 75 stopped: start me again, 130 Ctrl-C."""
    try:
        plan = plans.load(Path(job.plan_file))
        if job.stages:
            return work(plan, job.stages, job.units)
        return _run(plan)
    except CurateError as error:
        print(f"hpc-curate: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


def _run(plan: Plan) -> int:
    try:
        launch.run(plan)
    except KeyboardInterrupt:
        survives = "what is done is kept; the same command goes on"
        if plan.settings["launch"]["kind"] == "slurm":
            cancel = f"hpc-curate cancel {plan.paths.root}"
            survives = f"what is queued stays queued ({cancel} takes it back); the same command queues the rest"
        print(f"hpc-curate: interrupted; {survives}", file=sys.stderr)
        return 130
    return 0


def work(plan: Plan, stages: Sequence[str], units: Sequence[int]) -> int:
    """Do units of some stages in this process, one stage after another. Returns the exit code, as `launch.work`."""
    worst = 0
    for stage in stages:
        code = launch.work(plan, stage, units or (0,))
        if code == launch.START_ME_AGAIN:
            return code
        worst = worst or code
    return worst


def chosen(plan: Plan, stages: Sequence[str], units: Sequence[int]) -> tuple[str, ...]:
    """The stages that are meant: those named, or all before the first merge.

    Raises:
        ConfigError: a stage or unit that the plan has not; units of a merge, which has none; no units of others.
    """
    before = itertools.takewhile(lambda name: not isinstance(plan.steps[name].stage, Merge), plan.steps)
    meant = tuple(stages or before)
    for name in meant:
        if name not in plan.steps:
            raise ConfigError(f"the plan has no stage '{name}'; {nearest(name, plan.steps)}")
        last = plan.steps[name].units - 1
        if isinstance(plan.steps[name].stage, Merge):
            if units:
                raise ConfigError(f"{name} is a merge over all units; name it without units")
        elif not units:
            raise ConfigError(f"which units of {name}? It has 0 to {last}")
        elif wrong := [unit for unit in units if not 0 <= unit <= last]:
            raise ConfigError(f"{name} has units 0 to {last}, not {', '.join(map(str, wrong))}")
    return meant


def _end_well_or_not(job: Job) -> None:
    """Do a job as the only business of this process, and end it so that whoever started it knows.

    Hydra swallows exceptions and submitit ends with exit code 0, so that Slurm would call a failed job COMPLETED.
    """
    from hydra.errors import CompactHydraException

    slurm.clear_stale_result()
    try:
        code = do(job)
        if code == launch.START_ME_AGAIN:
            slurm.requeue_myself()  # the batch script is not ours
            sys.exit(code)  # without a result, so that the launcher goes on waiting for the job to run again
    except Exception:
        log.exception("a bug, a fault of the machine, or Slurm did not take the job back")
        code = 1
    if code:
        # After submitit has written the result: a launcher that waits for it may never ask Slurm.
        atexit.register(_leave, code)
        raise CompactHydraException(f"not all of it is done (exit code {code}); its log and hpc-curate status say more")


def _leave(code: int) -> None:
    """End this process with an exit code, although the interpreter is about to end with 0."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
