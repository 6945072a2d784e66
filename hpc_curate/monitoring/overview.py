"""Where a run stands: the ledger first, then one question to Slurm. Nothing is written."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hpc_curate.monitoring import pace, standing
from hpc_curate.monitoring.causes import INTERRUPTED
from hpc_curate.monitoring.siblings import Sibling, siblings
from hpc_curate.monitoring.standing import (
    BLOCKED,
    ENVIRONMENT,
    FAILED,
    PENDING,
    QUEUED,
    RUNNING,
    STOPPED,
    Queue,
    Standing,
)
from hpc_curate.plan import Plan
from hpc_curate.run_folder.ledger import Attempt, Ledger, Record
from hpc_curate.run_folder.state import State
from hpc_curate.stage import PerUnit

DONE, NOT_STARTED, UNFINISHED = "done", "not started", "unfinished"  # beside the kinds that a unit may have
KINDS = (RUNNING, QUEUED, FAILED, BLOCKED, STOPPED, PENDING)
_SLOWEST = 3


@dataclass(frozen=True)
class Task:
    """A unit at work, or one that is done."""

    unit: int
    seconds: float
    host: str
    job: str
    items_done: int = 0  # of a unit at work
    items: int = 0  # 0: not known yet, or one that is not divided


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
    stopped: int  # begun, and nobody is at them any more
    pending: int  # none of these
    rows: int
    errors: int
    hours: float  # that the units which are done have taken
    cpu_hours: float  # allocated, by those at work too
    gpu_hours: float
    units_per_s: float | None  # while any of them was at work; None: nothing is known yet
    clips_per_s: float | None  # None: also for a stage whose rows are no clips
    video_hours_per_hour: float | None  # of source video; None: also for a stage without units of its own
    left_s: float | None  # for the units that are neither done nor failed
    attempts: int  # that ended in a failure or a death, of all units
    takeovers: int  # from workers that were not known to have ended
    causes: dict[str, int]  # of the units that stopped
    at_work: list[Task]  # the longest first
    slowest: list[Task]  # of those that are done
    usual_s: float | None  # the median of those
    reasons: dict[str, list[int]] = field(default_factory=dict)  # what failures said at last, and of which units


@dataclass(frozen=True)
class Status:
    """A run: running, done, failed, blocked (stopped by chance, or what it reads is missing), interrupted (by its
    user, on this machine), not started, or unfinished (a part of it is done, and nothing tells of the rest)."""

    run: str
    plan: str
    state: str
    scheduler: str  # answered, silent (with its word), or none
    stages: list[StageStatus] = field(default_factory=list)
    data_set: str | None = None  # the folder or prefix of the tars, once it is known
    left_s: float | None = None  # of all stages of which something is known; `unknown` names the others
    unknown: list[str] = field(default_factory=list)  # stages with units to do of which nothing is known yet
    words: list[str] = field(default_factory=list)  # of a relay that could not queue the rest
    plans: list[Sibling] = field(default_factory=list)  # of the same run folder, if there are several
    pilot: str | None = None  # its run folder, if there was one


@dataclass(frozen=True)
class LedgerOnce(Ledger):
    """The ledger at one moment: what several plans share is read once, however many of them look."""

    _records: dict[tuple[str, str], dict[int, Record]] = field(default_factory=dict)
    _attempts: dict[tuple[str, str], dict[int, Attempt]] = field(default_factory=dict)

    def records(self, stage: str, signature: str) -> dict[int, Record]:
        if (stage, signature) not in self._records:
            self._records[stage, signature] = super().records(stage, signature)
        return self._records[stage, signature]

    def attempts(self, stage: str, signature: str) -> dict[int, Attempt]:
        if (stage, signature) not in self._attempts:
            self._attempts[stage, signature] = super().attempts(stage, signature)
        return self._attempts[stage, signature]


def look(plan: Plan, queue: Queue | None = None) -> Status:
    """Read the ledger, ask Slurm once if anything was ever queued there."""
    queue = queue or standing.queue(plan)
    ledger = LedgerOnce(plan.paths)
    state = State(plan, ledger, verify=False, fold=True)
    now = time.time()
    stages = [_stage(state, name, queue, now) for name in plan.steps]
    open_stages = [stage for stage in stages if _open_units(stage)]
    known = [stage.left_s for stage in open_stages if stage.left_s is not None]
    mine = overall(stages, bool(queue.of(plan)) or queue.is_unknown)
    return Status(
        run=str(plan.paths.root),
        plan=plan.hash,
        state=mine,
        scheduler=queue.scheduler,
        stages=stages,
        data_set=state.data_set(),
        left_s=sum(known) if known else None,
        unknown=[stage.stage for stage in open_stages if stage.left_s is None],
        words=queue.words(plan),
        plans=others(plan, queue, mine, ledger),
        pilot=str(plan.paths.pilot.root) if plan.paths.pilot.latest.exists() else None,
    )


def others(plan: Plan, queue: Queue, mine: str | None = None, seen: LedgerOnce | None = None) -> list[Sibling]:
    """The plans of the run folder, if there are several.

    Args:
        mine: the state of this one, if it is known.
        seen: what was read to know it.
    """
    now, ledger = time.time(), seen or LedgerOnce(plan.paths)

    def state_of(other: Plan) -> str:
        if mine and other.hash == plan.hash:
            return mine
        state = State(other, ledger, verify=False)
        return overall(
            [_stage(state, name, queue, now) for name in other.steps], bool(queue.of(other)) or queue.is_unknown
        )

    return siblings(plan, state_of)


def overall(stages: Sequence[StageStatus], alive: bool) -> str:
    """The state of a run; `alive`: something of it is in a queue or a process, or may be."""
    if all(stage.done == stage.units for stage in stages):
        return DONE
    if alive or any(stage.running for stage in stages):
        return RUNNING
    if any(stage.failed for stage in stages):
        return FAILED
    if any(stage.blocked for stage in stages) or any(set(stage.causes) - {INTERRUPTED} for stage in stages):
        return BLOCKED
    if any(stage.stopped for stage in stages):
        return INTERRUPTED
    return UNFINISHED if any(stage.done for stage in stages) else NOT_STARTED


def _open_units(stage: StageStatus) -> int:
    return stage.units - stage.done - stage.failed


def _stage(state: State, name: str, queue: Queue, now: float) -> StageStatus:
    step = state.plan.steps[name]
    records = state.finished(name)
    open_units = standing.of_stage(state, name, queue)
    counts = Counter(one.kind for one in open_units)
    at_work = [_at_work(one, now) for one in open_units if one.kind == RUNNING and one.attempt.began]
    seconds = sum(record.seconds for record in records)
    usual_s = statistics.median(record.seconds for record in records) if records else None
    shares = [pace.share(task.items_done, task.items, task.seconds, usual_s) for task in at_work]
    spans = [(record.finished - record.seconds, record.finished) for record in records]
    measured = pace.measure([*spans, *((now - task.seconds, now) for task in at_work)], len(records), shares)
    to_do = step.units - len(records) - counts[FAILED]
    taken = (seconds + sum(task.seconds for task in at_work)) / 3600
    return StageStatus(
        stage=name,
        units=step.units,
        done=len(records),
        **{kind: counts[kind] for kind in KINDS},
        rows=sum(record.rows for record in records),
        errors=sum(record.errors for record in records),
        hours=round(seconds / 3600, 6),
        cpu_hours=round(taken * step.resources.cpus, 6),
        gpu_hours=round(taken * step.resources.gpus, 6),
        units_per_s=measured.units_per_s,
        clips_per_s=_per_s(measured, [record.rows for record in records] if "rows" in step.stage.writes() else []),
        video_hours_per_hour=_per_s(measured, _video_s(state, records)),
        left_s=measured.left_s(to_do - sum(shares)) if to_do else 0.0,
        attempts=sum(record.attempt - 1 for record in records) + sum(one.attempt.attempts for one in open_units),
        takeovers=sum(record.takeovers for record in records) + sum(one.attempt.takeovers for one in open_units),
        causes=dict(Counter(one.cause for one in open_units if one.kind == STOPPED)),
        at_work=sorted(at_work, key=lambda task: -task.seconds),
        slowest=_slowest(records),
        usual_s=usual_s,
        reasons=_reasons(open_units),
    )


def _at_work(one: Standing, now: float) -> Task:
    attempt = one.attempt
    return Task(one.unit, max(0.0, now - attempt.began), attempt.host, attempt.job, attempt.items_done, attempt.items)


def _per_s(measured: pace.Pace, amounts: Sequence[float]) -> float | None:
    """Of what the units that are done hold, at the pace of the stage."""
    if not any(amounts) or measured.units_per_s is None:
        return None
    return measured.units_per_s * statistics.fmean(amounts)


def _video_s(state: State, records: Sequence[Record]) -> list[float]:
    """How long the videos of each unit are, as scan counted them; nothing for stages with other units."""
    plan = state.plan
    scan = plan.writers.get("videos")
    stage = plan.steps[records[0].stage].stage if records else None
    if not scan or not isinstance(stage, PerUnit) or stage.units_from is not None:
        return []
    found = (state.record(scan, record.unit) for record in records)
    return [record.duration_s if record else 0.0 for record in found]


def _slowest(records: Sequence[Record]) -> list[Task]:
    last = sorted(records, key=lambda record: -record.seconds)[:_SLOWEST]
    return [Task(record.unit, record.seconds, record.host, record.job) for record in last]


def _reasons(open_units: Sequence[Standing]) -> dict[str, list[int]]:
    """The units that ended badly by the last line that was left of each, the most frequent first."""
    found: dict[str, list[int]] = {}
    for one in open_units:
        if one.kind == FAILED or (one.kind == STOPPED and one.cause == ENVIRONMENT):
            found.setdefault(one.last_line or "it left no word", []).append(one.unit)
    return dict(sorted(found.items(), key=lambda reason: -len(reason[1])))
