"""What to try again: units that are not done, by what ended them, and units whose rows were given up too early.

Errors that are data (a damaged file, a clip without frames) are results: they are never tried again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import launch
from hpc_curate import plan as plans
from hpc_curate.cluster import slurm
from hpc_curate.errors import ConfigError, SchedulerError
from hpc_curate.io import tables
from hpc_curate.monitoring import causes, row_errors, standing
from hpc_curate.monitoring.deaths import NEVER_STARTED
from hpc_curate.monitoring.standing import BLOCKED, ENVIRONMENT, FAILED, PENDING, STOPPED, Standing
from hpc_curate.plan import Plan
from hpc_curate.plural import counted, listed
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

TRANSIENT, OOM, TIMEOUT, CANCELLED, QUARANTINED = "transient", "oom", "timeout", "cancelled", "quarantined"
UNFETCHED = "unfetched"  # rows whose source did not answer, or refused us: their units are done, and keep what came
ALL = "all"
_OF_ROWS = (QUARANTINED, UNFETCHED)
# Whoever calls `retry` wants the run to go on, with what somebody has cancelled too; `--class` leaves that out.
_BY_DEFAULT = {TRANSIENT, FAILED, BLOCKED, CANCELLED, UNFETCHED}
# Of the machine, or of a limit that may have been met by chance, as they stand in the error column.
_NOT_DATA = re.compile(
    r"^quarantined: |killed \(SIGKILL\)|time limit: |no permission to read it|Permission denied|Input/output error"
    r"|Stale file handle|Cannot allocate memory"
)

# What another node would meet too.
_ANYWHERE = re.compile(r"Permission denied|Operation not permitted|Disk quota exceeded")


@dataclass(frozen=True)
class Case:
    """Units of a stage that are tried again for the same reason."""

    stage: str
    kind: str  # failed, blocked, or a class
    units: tuple[int, ...]
    reason: str  # in words
    hosts: tuple[str, ...] = ()  # that were at fault


@dataclass(frozen=True)
class Retry:
    """What is about to be done."""

    plan: Plan  # with more memory or time, where asked for
    cases: tuple[Case, ...]
    left: tuple[Case, ...]  # not of the class that was asked for
    more: tuple[str, ...]  # settings that are raised, in words
    data_errors: Mapping[str, int]  # with an error that is a result, as video or clip
    missing: int  # units that are not done
    not_begun: int  # of these, units that nobody has begun, and that are not queued
    wanted: str | None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be done: what is only pending goes on unless a class was asked for."""
        return not self.cases and (self.wanted is not None or not self.missing)

    @property
    def exclude(self) -> tuple[str, ...]:
        """Hosts that had a fault of their own."""
        return tuple(sorted({host for case in self.cases for host in case.hosts}))


def decide(plan: Plan, stages: Sequence[str], wanted: str | None, factor: float) -> Retry:
    """Find what is to be tried again.

    Args:
        wanted: a class; None: what failed, is blocked, was cancelled or ended by chance.
        factor: of memory (oom) or time (timeout).

    Raises:
        SchedulerError: Slurm does not answer.
        ConfigError: units would be done again as a whole while something of the run is queued or running, or they
            would be given less than before.
    """
    if not 1 <= factor < float("inf"):
        raise ConfigError(f"--factor {factor:g} must be 1 or more: what ran out of memory or time is not given less")
    state = State(plan, Ledger(plan.paths))
    queue = standing.queue(plan)
    if queue.scheduler.startswith("silent"):
        raise SchedulerError(f"Slurm is {queue.scheduler}; nothing is retried on a guess")
    meant = _BY_DEFAULT if wanted is None else {wanted}
    if wanted == ALL:
        meant = {*_BY_DEFAULT, OOM, TIMEOUT, QUARANTINED}
    open_units = {name: standing.of_stage(state, name, queue) for name in plan.steps}
    troubled = {name: [one for one in open_units[name] if _is_trouble(one)] for name in stages}
    accounted = _asked_of_accounting([one for ones in troubled.values() for one in ones])
    found = [case for name, ones in troubled.items() for case in _cases(name, ones, accounted)]
    data: Counter[str] = Counter()
    found += [case for name in stages for case in _rows_given_up(state, name, data)]
    if any(case.kind in meant for case in found):
        meant = {*meant, BLOCKED}  # what comes after it may be free then
    cases = tuple(case for case in found if case.kind in meant)
    if queue.live and any(case.kind == QUARANTINED for case in cases):
        # Its files are removed, and others may be reading them.
        raise ConfigError("something of this run is queued or running; wait for it, or cancel it, then retry")
    left = tuple(case for case in found if case.kind not in meant)
    raised, more = _raised(plan, cases, factor)
    every = [one for ones in open_units.values() for one in ones]
    not_begun = sum(one.kind == PENDING or one.cause == NEVER_STARTED for one in every)
    return Retry(raised, cases, left, more, +data, len(every), not_begun, wanted)


def do(retry: Retry) -> None:
    """Forgive, reopen, and launch what is missing.

    Raises:
        CurateError: as `launch.run`.
    """
    plan = retry.plan
    ledger = Ledger(plan.paths)
    state = State(plan, ledger, verify=False)
    for case in retry.cases:
        signature = state.signature(case.stage) or plan.static_signature(case.stage)
        for unit in case.units:
            if case.kind in _OF_ROWS:
                ledger.reopen(case.stage, signature, unit, keep=case.kind == UNFETCHED)
            ledger.forgive(case.stage, signature, unit)
    plans.save(plan)
    left: dict[str, set[int]] = {}
    for case in retry.left:
        if case.kind not in _OF_ROWS:  # those are done
            left.setdefault(case.stage, set()).update(case.units)
    launch.run(plan, launch.Without(retry.exclude, left))


def text(retry: Retry) -> str:
    """What is about to be done, class by class."""
    lines = []
    if retry.is_idle:
        lines.append(f"nothing to do: {'no unit is of this class' if retry.missing else 'every unit is done'}")
    lines += [f"{case.kind:<12} {case.stage}: {_units(case.units)}, {case.reason}" for case in retry.cases]
    if retry.not_begun and not retry.is_idle:
        lines.append(f"as well      {counted(retry.not_begun, 'unit')} that nobody has begun")
    lines += [f"more         {setting}" for setting in retry.more]
    lines += [f"not on       {', '.join(retry.exclude)}"] if retry.exclude else []
    lines += [f"left alone   {case.stage}: {_units(case.units)}, {case.kind}: {case.reason}" for case in retry.left]
    results = row_errors.listing(retry.plan, retry.data_errors, "an error that is a result")
    lines += [f"left alone   {said}" for said in results]
    return "\n".join(lines)


def _units(units: Sequence[int]) -> str:
    return f"{counted(len(units), 'unit')} ({listed(units)})"


# -- units that are not done -----------------------------------------------------------------------------------------


def _is_trouble(one: Standing) -> bool:
    """What left the queue before it started goes on in any case, like what was never queued."""
    return one.kind in (FAILED, BLOCKED, STOPPED) and one.cause != NEVER_STARTED


def _cases(name: str, troubled: Sequence[Standing], accounted: Mapping[str, str]) -> Iterator[Case]:
    groups: dict[tuple[str, str], list[Standing]] = {}
    for one in troubled:
        groups.setdefault(_kind_and_reason(one, accounted), []).append(one)
    for (kind, reason), ones in groups.items():
        guilty = {one.attempt.host for one in ones if one.cause == ENVIRONMENT and not _ANYWHERE.search(reason)}
        yield Case(name, kind, tuple(one.unit for one in ones), reason, tuple(sorted(guilty - {""})))


def _asked_of_accounting(troubled: Sequence[Standing]) -> Mapping[str, str]:
    """The states of the jobs whose logs say nothing, by one call; nothing where there is no accounting."""
    unknown = [one for one in troubled if one.cause in (causes.UNKNOWN, causes.CANCELLED)]
    jobs = sorted({one.attempt.job for one in unknown if one.attempt.job[:1].isdigit()})
    return slurm.states(jobs) if jobs else {}


def _kind_and_reason(one: Standing, accounted: Mapping[str, str]) -> tuple[str, str]:
    if one.kind == STOPPED:
        cause = one.cause
        if cause in (causes.UNKNOWN, causes.CANCELLED):
            told = causes.of_state(accounted.get(one.attempt.job, ""))
            cause = told if told != causes.UNKNOWN else cause
        kinds = {causes.OOM: OOM, causes.TIMEOUT: TIMEOUT, causes.CANCELLED: CANCELLED}
        return kinds.get(cause, TRANSIENT), _reason(one, cause)
    if one.kind == FAILED and "MemoryError" in one.attempt.message:
        return OOM, "out of memory"
    return one.kind, one.last_line or "?" if one.kind == FAILED else "what it reads was missing"


def _reason(one: Standing, cause: str) -> str:
    if cause == ENVIRONMENT:
        return one.last_line
    words = {
        causes.OOM: "killed for memory",
        causes.TIMEOUT: "killed at its time limit",
        causes.NODE_FAIL: "its node failed",
        causes.CANCELLED: "somebody cancelled it",
        causes.UNKNOWN: "its worker died without a word",
    }
    return words.get(cause, cause)


def _raised(plan: Plan, cases: Sequence[Case], factor: float) -> tuple[Plan, tuple[str, ...]]:
    """The plan with more memory or time for the stages that ran out of it."""
    given = {name: dict(values or {}) for name, values in (plan.settings.get("resources") or {}).items()}
    said: dict[str, str] = {}
    for case in cases:
        resources = plan.steps[case.stage].resources
        own = given.setdefault(case.stage, {})
        if case.kind == OOM:
            own["memory_gb"] = round(resources.memory_gb * factor, 3)
            said[f"{case.stage}.memory_gb"] = f"{resources.memory_gb:g} -> {own['memory_gb']:g}"
        elif case.kind == TIMEOUT:
            own["minutes"] = round(resources.minutes * factor)
            said[f"{case.stage}.minutes"] = f"{resources.minutes} -> {own['minutes']}"
    if not said:
        return plan, ()
    made = plans.build({**plan.settings, "resources": given}, plan.units, plan.noted)
    return replace(made, paths=plan.paths), tuple(f"resources.{name}: {change}" for name, change in said.items())


# -- rows that were given up -----------------------------------------------------------------------------------------


def _rows_given_up(state: State, name: str, data: Counter[str]) -> Iterator[Case]:
    """The units of a stage with rows whose error is not of the data.

    Args:
        data: where rows whose error is of the data are counted, as video or clip.
    """
    stage = state.plan.steps[name].stage
    main = row_errors.table_of(stage)
    if not main:
        return
    what = row_errors.what(main)
    chosen, given_up = [], 0
    fetches = "again" in stage.writes()[main].names
    for record in state.finished(name):
        if not (record.errors or fetches):
            continue
        rows = tables.read_table(state.ledger.outputs(record, main))
        errors = rows["error"].drop_null().to_pylist()
        again = pc.sum(rows["again"]).as_py() or 0 if fetches else sum(bool(_NOT_DATA.search(one)) for one in errors)
        mine = again + (_lost(state, rows) if fetches else 0)
        given_up += mine
        data[what] += len(errors) - again
        chosen += [record.unit] if mine else []
    if not chosen:
        return
    how = "did not come, or got lost, and may come another time" if fetches else "given up"
    yield Case(name, UNFETCHED if fetches else QUARANTINED, tuple(chosen), f"{counted(given_up, what)} {how}")


def _lost(state: State, rows: pa.Table) -> int:
    """How many files that were fetched are no longer there, or not whole."""
    root = state.plan.paths.root
    came = rows.filter(pc.is_valid(rows["path"])).select(["path", "bytes"]).to_pylist()
    return sum(
        not (root / row["path"]).is_file() or (root / row["path"]).stat().st_size != row["bytes"] for row in came
    )
