"""Where a run stands: the ledger first, then one question to Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hpc_curate import slurm, submissions
from hpc_curate.errors import SchedulerError
from hpc_curate.ledger import Ledger
from hpc_curate.plan import Plan
from hpc_curate.state import State


@dataclass(frozen=True)
class StageStatus:
    """One stage of the line, in units."""

    stage: str
    units: int
    done: int
    running: int
    queued: int
    failed: int
    blocked: int
    pending: int  # none of these
    rows: int
    errors: int
    hours: float  # that the units which are done have taken
    message: str = ""  # of the first failure


@dataclass(frozen=True)
class Status:
    """A run: running, done, failed or blocked."""

    run: str
    plan: str
    state: str
    scheduler: str  # answered, silent (with its word), or none
    stages: list[StageStatus] = field(default_factory=list)
    data_set: str | None = None  # the folder or prefix of the tars, once it is known


def look(plan: Plan) -> Status:
    """Read the ledger, ask Slurm once if anything was ever queued there."""
    ledger = Ledger(plan.paths)
    state = State(plan, ledger, verify=False)
    submitted = submissions.every(plan.paths)
    queued = [one for one in submitted if not one.here]
    scheduler, live = "none", []
    if queued:
        try:
            live, scheduler = slurm.live(queued), "answered"
        except SchedulerError as error:
            scheduler = f"silent: {error}"
    there = {name: {unit for one in live if one.submission.stage == name for unit in one.units} for name in plan.steps}
    stages = [_stage(plan, state, ledger, name, there[name]) for name in plan.steps]
    alive = bool(live) or any(_alive(one.job_id) for one in submitted)
    return Status(str(plan.paths.root), plan.hash, _overall(stages, alive), scheduler, stages, state.data_set())


def _stage(plan: Plan, state: State, ledger: Ledger, name: str, live: set[int]) -> StageStatus:
    units = plan.steps[name].units
    records = [record for unit in range(units) if (record := state.done(name, unit))]
    missing = state.missing(name)
    attempts = ledger.attempts(name, state.signature(name) or plan.static_signature(name))
    counts = {"running": 0, "queued": 0, "failed": 0, "blocked": 0, "pending": 0}
    message = ""
    for unit in missing:
        attempt = attempts.get(unit)
        if unit in live:
            kind = "running" if attempt and attempt.token and attempt.failure is None else "queued"
        elif attempt is None or attempt.failure in ("preempted", "environment"):
            kind = "pending"
        else:
            kind = {None: "running", "failed": "failed", "blocked": "blocked"}[attempt.failure]
        counts[kind] += 1
        if kind == "failed" and attempt and not message:
            message = f"unit {unit}: {attempt.message.strip().splitlines()[-1] if attempt.message.strip() else '?'}"
    hours = round(sum(record.seconds for record in records) / 3600, 4)
    rows, errors = sum(record.rows for record in records), sum(record.errors for record in records)
    return StageStatus(name, units, len(records), **counts, rows=rows, errors=errors, hours=hours, message=message)


def _overall(stages: Sequence[StageStatus], alive: bool) -> str:
    if all(stage.done == stage.units for stage in stages):
        return "done"
    if alive:
        return "running"
    return "failed" if any(stage.failed for stage in stages) else "blocked"


def _alive(job_id: str | None) -> bool:
    """Whether a process that launch=local started on this machine still runs."""
    if not job_id or not job_id.startswith("local-"):
        return False
    command = Path(f"/proc/{job_id[len('local-') :]}/cmdline")
    return command.exists() and b"submitit" in command.read_bytes()


def text(status: Status) -> str:
    """A table for a terminal."""
    columns = ("stage", "units", "done", "running", "queued", "failed", "blocked", "pending", "rows", "errors", "hours")
    lines = [[str(asdict(stage)[column]) for column in columns] for stage in status.stages]
    widths = [max(len(line[i]) for line in [list(columns), *lines]) for i in range(len(columns))]
    rows = [_aligned(line, widths) for line in [list(columns), *lines]]
    notes = [f"{stage.stage}: {stage.message}" for stage in status.stages if stage.message]
    head = f"{status.run}  plan {status.plan}  {status.state}"
    silent = [status.scheduler] if status.scheduler.startswith("silent") else []
    place = [f"data set: {status.data_set}"] if status.data_set and status.state == "done" else []
    return "\n".join([head, *silent, "", *rows, *notes, *place])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([cells[0].ljust(len(first)), *rest])


def log_files(plan: Plan, stage: str | None, unit: int | None) -> list[Path]:
    """Logs of one unit; without one, of the elements that had units which failed or are blocked."""
    ledger = Ledger(plan.paths)
    state = State(plan, ledger, verify=False)
    found: list[Path] = []
    for name in [stage] if stage else plan.steps:
        attempts = ledger.attempts(name, state.signature(name) or plan.static_signature(name))
        wanted = {unit} if unit is not None else {u for u, a in attempts.items() if a.failure}
        for submission in submissions.every(plan.paths):
            if submission.stage != name or submission.job_id is None:
                continue
            for index, units in enumerate(submission.elements):
                if wanted & set(units):
                    found += _logs_of(plan, submission, index)
    return [path for path in dict.fromkeys(found) if path.exists()]


def _logs_of(plan: Plan, submission: submissions.Submission, index: int) -> list[Path]:
    folder = plan.paths.logs(submission.stage)
    if submission.pids:
        return [folder / f"{submission.pids[index]}_0_log.out"]
    job = submission.job_id
    return [folder / f"{job}_{index}_0_log.out", folder / f"{job}_0_log.out"]
