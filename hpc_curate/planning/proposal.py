"""From what was measured to what should be asked for: walltime, memory and array shape of every stage, and the sum.

A task's seconds are taken to grow with the source bytes that it covers. Merges, and tasks that pack, cover more in the
whole than in a pilot: their figures are carried further than the others, and a merge's memory is not guessed at all.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpc_curate import units
from hpc_curate.cluster import slurm
from hpc_curate.errors import ConfigError
from hpc_curate.plan import Plan, Step
from hpc_curate.planning.evidence import (
    FILES_PER_ELEMENT,
    Evidence,
    Sample,
    bytes_per_gb,
    gather,
    gb_of_tasks,
    gb_of_units,
)
from hpc_curate.plural import counted
from hpc_curate.report.text import aligned, clock, size
from hpc_curate.run_folder import submissions
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.stage import Merge, PerUnit

QUANTILE = 0.95  # of the measured seconds per GB, which the walltime must hold ...
TIME_MARGIN = 1.5  # ... with so much to spare
MEMORY_MARGIN = 1.3  # over the highest that was measured
LEAST_MEMORY_GB = 2  # a video larger than any of the sample is likely
LEAST_MINUTES = 30  # a shorter walltime leaves no room for a preemption's warning and a requeue
ELEMENT_S = 20 * 60  # at least: shorter ones cost the scheduler more than they are worth
FAR = 10  # times the source that a measured task covered
LONG_UNIT_S = 60 * 60  # a unit that takes longer loses much to whatever ends it


@dataclass(frozen=True)
class Proposal:
    """What one stage should be given. None: nothing was measured that says so."""

    stage: str
    done: int  # tasks that it rests on
    left: int  # tasks
    left_bytes: int | None = None  # that they will leave in the run folder
    left_files: int | None = None
    seconds: float | None = None  # of a typical task that is left
    spread: tuple[float, float] | None = None  # the fastest and the slowest task, against the typical
    cores: float | None = None  # that a task kept busy
    hosts: tuple[str, ...] = ()  # where it was measured
    units_per_element: int | None = None
    elements: int = 0
    minutes: int | None = None
    memory_gb: float | None = None
    core_hours: float | None = None  # of what is left
    gpu_hours: float | None = None
    hours: float | None = None  # until the stage is through, with the given parallelism
    notes: tuple[str, ...] = ()

    def overrides(self) -> list[str]:
        """What to give to `run`."""
        names = ("minutes", "memory_gb", "units_per_element")
        given = {name: getattr(self, name) for name in names}
        return [f"resources.{self.stage}.{name}={value:.10g}" for name, value in given.items() if value is not None]


@dataclass(frozen=True)
class Work:
    """What is left of a line, and how it is run."""

    plan: Plan
    gb: Sequence[float]  # source GB of each unit
    missing: Mapping[str, Sequence[int]]  # tasks that are not done, by stage
    parallel: Mapping[str, int]  # elements that run at once, by stage
    most: int | None  # elements of a stage that may be queued; None: any number, in waves

    def tasks(self, name: str) -> list[int]:
        """The tasks to plan for: those that are left, or all where all are done."""
        return list(self.missing[name]) or list(range(self.plan.steps[name].units))


def of_run(plan: Plan, parallel: int | None = None) -> tuple[Work, list[Proposal]]:
    """What is left of a run, and what its stages should be given.

    Raises:
        ConfigError: nothing of it is done, nor of a pilot.
    """
    evidence = gather(plan)
    if not any(evidence.values()):
        raise ConfigError(
            f"nothing of {plan.paths.root} is done, so nothing is known: hpc-curate run ... pilot=4 measures first"
        )
    state, settings = State(plan, Ledger(plan.paths)), plan.settings["launch"]
    limits = slurm.limits(settings) if settings["kind"] == "slurm" and slurm.here() else slurm.usual_limits(settings)
    at_once = {name: min(parallel or _parallel(plan, step), limits.submit_jobs) for name, step in plan.steps.items()}
    missing = {name: state.missing(name) for name in plan.steps}
    most = None if settings.get("waves", True) else max(1, limits.submit_jobs // len(plan.steps))
    work = Work(plan, gb_of_units(units.all_videos(plan.paths), plan.units), missing, at_once, most)
    return work, propose(work, evidence)


def _parallel(plan: Plan, step: Step) -> int:
    """Elements of a stage that run at once, as the settings have it."""
    settings = plan.settings["launch"]
    if settings["kind"] == "local":
        return int(settings["slots"] or max(1, len(os.sched_getaffinity(0)) // max(1, step.resources.cpus)))
    return int(settings.get("array_parallelism", 1))


def propose(work: Work, evidence: Evidence) -> list[Proposal]:
    """One proposal per stage, in the order of the line."""
    return [_propose(work, step, evidence.get(name, [])) for name, step in work.plan.steps.items()]


def line_hours(plan: Plan, proposals: Sequence[Proposal]) -> float | None:
    """Until the last stage is through: along the stages that wait for each other. None: of one nothing is known."""
    through: dict[str, float] = {}
    for one in proposals:
        if one.hours is None:
            return None
        before = [through[name] for name in plan.steps[one.stage].waits_for]
        through[one.stage] = one.hours + max(before, default=0.0)
    return max(through.values(), default=0.0)


def _propose(work: Work, step: Step, samples: Sequence[Sample]) -> Proposal:
    name, left = step.stage.name, len(work.missing[step.stage.name])
    timed = [sample for sample in samples if not sample.resumed]
    if all(sample.rows == 0 for sample in timed):
        why = "none was done at one go (resumed, or asked for more later)" if samples else "no task is done"
        remedy = "pilot=N does some of all"
        if timed:
            why, remedy = "no clip came to any task", "pilot=N with more units, or rules that keep more"
        return Proposal(name, 0, left, notes=(f"{why}: nothing to propose from; {remedy}",))
    covered = gb_of_tasks(step, work.gb)
    tasks = work.tasks(name)
    pace = _pace(step, timed, sum(covered[task] for task in tasks) / len(tasks))
    per_element = _units_per_element(work, step, len(tasks), pace.seconds)
    # Its workers run side by side; each takes its share of the units.
    workers, dealt = step.resources.workers_per_element, _elements(step, tasks, per_element)
    longest = max(sum(covered[task] for task in element) for element in dealt) / min(workers, len(dealt[0]))
    minutes = max(LEAST_MINUTES, math.ceil(pace.high * longest * TIME_MARGIN / 600) * 10)
    left_gb = sum(covered[task] for task in work.missing[name])
    elements = len(_elements(step, work.missing[name], per_element)) if left else 0
    spent_s = pace.rate * left_gb
    files = sum(sample.files for sample in samples) / len(samples)
    return Proposal(
        name,
        done=len(timed),
        left=left,
        left_bytes=round(bytes_per_gb(samples) * left_gb),
        left_files=round(files * left) + FILES_PER_ELEMENT * elements,
        seconds=round(pace.seconds, 1),
        spread=pace.spread,
        cores=_cores(timed),
        hosts=tuple(sorted({sample.host for sample in timed})),
        units_per_element=per_element,
        elements=elements,
        minutes=step.resources.minutes if pace.capped else minutes,
        memory_gb=_memory_gb(step, samples),
        core_hours=round(spent_s * step.resources.cpus / 3600, 4),
        gpu_hours=round(spent_s * step.resources.gpus / 3600, 4),
        hours=round(_hours(work.parallel[name], elements, spent_s / min(workers, left or 1), pace.rate * longest), 4),
        notes=tuple(_notes(step, timed, work.gb, pace)),
    )


@dataclass(frozen=True)
class _Pace:
    """How fast a stage gets through the source."""

    rate: float  # seconds per GB, of a typical task
    high: float  # that a task seldom exceeds
    spread: tuple[float, float]
    seconds: float  # of a typical task that is left
    capped: bool = False  # carried so far that it is not believed


def _pace(step: Step, timed: Sequence[Sample], gb: float) -> _Pace:
    """From measured tasks to those that are left, which cover `gb` each.

    Among the rates one by one, a task that is much smaller than the others does not count: it says more about starting
    than about work. So does every task of a small pilot about a merge of the whole; what is carried far is therefore
    taken to last no longer than its walltime now.
    """
    mean = sum(sample.gb for sample in timed) / len(timed)
    rate = sum(sample.seconds for sample in timed) / (mean * len(timed))
    rates = [sample.seconds / sample.gb for sample in timed if sample.gb >= mean / 2]
    high = float(np.quantile(rates, QUANTILE, method="higher"))
    spread = (round(min(rates) / rate, 2), round(max(rates) / rate, 2)) if rate else (1.0, 1.0)
    cap_s = step.resources.minutes * 60
    if gb > FAR * mean and rate * gb > cap_s:
        return _Pace(cap_s / gb, cap_s / gb, spread, cap_s, capped=True)
    return _Pace(rate, high, spread, rate * gb)


def _hours(parallel: int, elements: int, spent_s: float, longest_s: float) -> float:
    """Rounds of elements that run at once, but never less than the longest of them."""
    if not elements:
        return 0.0
    rounds = -(-elements // parallel)
    return max(rounds * spent_s / elements, longest_s) / 3600


def _units_per_element(work: Work, step: Step, tasks: int, seconds: float) -> int | None:
    """As few as make an element worth its start, so that as many as possible run at once; None for a merge."""
    if not isinstance(step.stage, PerUnit):
        return None
    workers = step.resources.workers_per_element
    worth = math.ceil(ELEMENT_S / seconds) if seconds else tasks
    fit = -(-tasks // (work.most * workers)) if work.most else 1
    return max(1, min(max(worth, fit), -(-tasks // workers)))


def _elements(step: Step, tasks: Sequence[int], per_element: int | None) -> list[tuple[int, ...]]:
    together = (per_element or 1) * step.resources.workers_per_element
    return submissions.deal(tasks, -(-len(tasks) // together))


def _cores(timed: Sequence[Sample]) -> float | None:
    measured = [sample for sample in timed if sample.cpu_s]
    seconds = sum(sample.seconds for sample in measured)
    return round(sum(sample.cpu_s for sample in measured) / seconds, 2) if seconds else None


def _memory_gb(step: Step, samples: Sequence[Sample]) -> float | None:
    """Whole GB; a merge never gets less than it has, because its memory grows with the clips."""
    highest = max(sample.memory_gb for sample in samples)
    if not highest:
        return None
    asked = float(max(LEAST_MEMORY_GB, math.ceil(highest * MEMORY_MARGIN)))
    return max(asked, step.resources.memory_gb) if isinstance(step.stage, Merge) else asked


def _notes(step: Step, timed: Sequence[Sample], gb: Sequence[float], pace: _Pace) -> list[str]:
    found = []
    if isinstance(step.stage, Merge):
        seen = sum(sample.gb for sample in timed) / len(timed) / sum(gb)
        if seen < 0.99:
            found.append(
                f"measured on {100 * seen:.2g} % of the source; memory, which grows with the clips, is left alone"
            )
    if pace.capped:
        found.append("too far from what was measured, which is mostly start: minutes are left alone, hours are at most")
    elif pace.seconds > LONG_UNIT_S and isinstance(step.stage, PerUnit):
        hours, mean = pace.seconds / 3600, sum(gb) / len(gb)
        maker = step.stage.units_from
        groups = f"stage.{maker}.groups={math.ceil(step.units * hours)}"
        smaller = groups if maker else f"unit.gb={mean / hours:.2g} in a new run folder"
        found.append(f"a task takes {hours:.1f} h; {smaller} loses less to a kill")
    failed = sum(sample.attempts - 1 for sample in timed)
    if failed:
        found.append(f"{counted(failed, 'attempt')} failed before these were done")
    return found


def text(work: Work, proposals: Sequence[Proposal]) -> str:
    """A table for a terminal, what its columns rest on, and the overrides to give to `run`."""
    told = [one for one in proposals if one.done]
    hosts = sorted({host for one in told for host in one.hosts})
    source = f"{size(sum(work.gb) * 1e9)} in {counted(work.plan.units, 'unit')}, plan {work.plan.hash}"
    head = f"{work.plan.paths.root}: {source}; measured on {', '.join(hosts[:4])}{' ...' * (len(hosts) > 4)}"
    notes: dict[str, list[str]] = {}
    for one in proposals:
        for note in one.notes:
            notes.setdefault(note, []).append(one.stage)
    said = [f"{', '.join(stages)}: {note}" for note, stages in notes.items()]
    given = "\n  ".join(["to what you gave to hpc-curate run, add:", *(" ".join(one.overrides()) for one in told)])
    return "\n".join([head, "", _table(work, proposals), "", *_LEGEND, *said, "", given])


def _table(work: Work, proposals: Sequence[Proposal]) -> str:
    head = "stage measured spread s/task cores left units/el. elements minutes GB core-h GPU-h leaves files h:mm:ss"
    lines = [head.split()]
    for one in proposals:
        spread = "{:.2g}-{:.2g}".format(*one.spread) if one.spread and one.done > 1 else None
        cells = [one.done, spread, one.seconds, one.cores, one.left, one.units_per_element, one.elements, one.minutes]
        cells += [one.memory_gb, one.core_hours, one.gpu_hours, size(one.left_bytes), one.left_files, clock(one.hours)]
        lines.append([one.stage, *map(cell, cells)])
    names = ("core_hours", "gpu_hours", "left_bytes", "left_files")
    sums = [sum(getattr(one, name) or 0 for one in proposals) for name in names]
    sums[2:3] = [size(sums[2])]
    lines.append(["together", *[""] * 9, *map(cell, sums), clock(line_hours(work.plan, proposals))])
    return aligned(lines)


_LEGEND = (
    "measured: tasks that this rests on; spread: seconds per source byte of the fastest and the slowest, typical = 1",
    f"s/task: of a typical task that is left; an element takes {ELEMENT_S // 60} minutes or more",
    f"minutes: the longest element at the rate that {QUANTILE:.0%} of the tasks keep, x {TIME_MARGIN:g}, "
    f"{LEAST_MINUTES} at least",
    f"GB: the highest that was measured, x {MEMORY_MARGIN:g}, {LEAST_MEMORY_GB} at least; "
    "cores: that were busy, whatever was asked for",
    "h:mm:ss: until a stage is through, without the time in the queue; one of which nothing is known hides the sum",
)


def cell(value: object) -> str:
    """A value in a table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
