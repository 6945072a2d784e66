"""What `run` would do, and what it would leave: `run --dry-run`, which writes into no run folder and queues nothing.

The decisions are the launcher's own: it is given a scheduler that only takes notes, and a place of its own to write
down what it has queued.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from hpc_curate import launch
from hpc_curate.cluster import slurm, slurm_jobs, waves
from hpc_curate.cluster.slurm import Answer, Limits, Task
from hpc_curate.cluster.waves import Wave
from hpc_curate.io.paths import RunPaths
from hpc_curate.plan import Plan, Step
from hpc_curate.planning import evidence
from hpc_curate.planning.evidence import Evidence
from hpc_curate.planning.proposal import cell
from hpc_curate.plural import counted
from hpc_curate.report.text import aligned, size
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.run_folder.submissions import RELAY, Submission

_OPTION = "#SBATCH "
_STANDS_FOR = "STAGE, ID, JOB, CPUS stand for what each has of its own"
FILES_PER_UNIT = 12  # over the whole line, once records are folded: tests/test_line.py counts them
# Bytes left per source byte, where nothing was measured yet: of tools/quickstart.sh (28 minutes of 0.46 Mbit/s, half
# of its clips kept). Frame packs grow with hours and not with bytes, so sources of a higher rate leave less of scan.
RULE_OF_THUMB = {"scan": 0.55, "cut": 1.1, "pack": 1.1, "report": 0.01, "embed": 0.002, "shots": 0.0004}


@dataclass(frozen=True)
class Array:
    """One array, or the relay, as it would be queued."""

    stage: str
    job: str  # what stands for its number in the dependencies of others
    units: int
    elements: int
    after: tuple[str, ...]
    script: str | None  # for sbatch; None: there is no Slurm here


@dataclass(frozen=True)
class Row:
    """One stage."""

    stage: str
    units: int
    missing: int
    queued: int | None  # units in arrays that would be queued now; this and the next two: None where it is run here
    elements: int | None
    arrays: int | None
    cpus: int  # of an element, as the next two
    gpus: int
    memory_gb: float
    minutes: int
    partition: str | None
    waits_for: tuple[str, ...]
    bytes: int  # that it would leave
    measured: bool  # by what this run or its pilot has done; else guessed from another run


@dataclass(frozen=True)
class Outlook:
    """A plan, seen before anything of it is queued."""

    run: str
    plan: str
    launch: str
    videos: int
    units: int
    gb: float
    rows: list[Row]
    arrays: list[Array]
    files: int
    notes: list[str] = field(default_factory=list)


@dataclass
class Rehearsal:
    """A scheduler that takes notes; it asks the real one what there is, if there is one."""

    plan: Plan
    arrays: list[Array] = field(default_factory=list)

    @property
    def _real(self) -> slurm_jobs.Slurm:
        return slurm_jobs.Slurm(self.plan, launch.element, launch.relay)

    def limits(self) -> Limits:
        return self._real.limits() if slurm.here() else slurm.usual_limits(self.plan.settings["launch"])

    def queue(self) -> list[Task]:
        return self._real.queue() if slurm.here() else []

    def recheck(self, names: Sequence[str], since: float) -> Answer:
        return self._real.recheck(names, since)

    def submit(self, submission: Submission, after: Sequence[str]) -> str:
        mine = sum(array.stage == submission.stage for array in self.arrays) + 1
        job = f"@{submission.stage}" if mine == 1 else f"@{submission.stage}.{mine}"
        script = slurm_jobs.script(self.plan, submission, after) if slurm.here() else None
        units = sum(map(len, submission.elements))
        self.arrays.append(Array(submission.stage, job, units, len(submission.elements), tuple(after), script))
        return job

    def adopt(self, submission: Submission, job_id: str) -> None:
        """Nothing: a rehearsal leaves lost jobs where they are."""


def look(plan: Plan, videos: pa.Table) -> Outlook:
    """What would be queued and left.

    Args:
        videos: every video with its unit (`UNITS`), as it would be frozen.

    Raises:
        ConfigError: launch.sbatch has what submitit does not know.
        SchedulerError: there is a Slurm here, but it does not answer.
    """
    state = State(plan, Ledger(plan.paths))
    missing = {name: state.missing(name) for name in plan.steps}
    kind, gb = plan.settings["launch"]["kind"], evidence.gb_of_units(videos, plan.units)
    arrays, notes = [], []
    if kind == "slurm":
        arrays = _rehearse(plan, state)
        if not slurm.here():
            notes.append("there is no Slurm here: its usual limits are assumed, and no sbatch text can be shown")
    known = evidence.gather(plan) if plan.paths.latest.exists() else {}
    rows = [_row(plan, step, missing[name], arrays, (gb, known)) for name, step in plan.steps.items()]
    relays = [array for array in arrays if array.stage == RELAY]
    notes += [f"a relay queues what does not fit now, when {relay.after[0]} is over" for relay in relays]
    if known:
        notes.append(f"hpc-curate propose {plan.paths.root}: how long it takes, and better resources")
    files = FILES_PER_UNIT * plan.units + evidence.FILES_PER_ELEMENT * sum(row.elements or 0 for row in rows)
    return Outlook(str(plan.paths.root), plan.hash, kind, len(videos), plan.units, sum(gb), rows, arrays, files, notes)


def _rehearse(plan: Plan, state: State) -> list[Array]:
    rehearsal = Rehearsal(plan)
    with tempfile.TemporaryDirectory(prefix="hpc_curate-") as folder:
        aside = RunPaths(Path(folder))
        if plan.paths.submissions.is_dir():
            shutil.copytree(plan.paths.submissions, aside.submissions)
        with _unsaid(waves.log):
            Wave(replace(plan, paths=aside), rehearsal, state.missing).queue()
    return rehearsal.arrays


@contextmanager
def _unsaid(log: logging.Logger) -> Iterator[None]:
    """Without its information: that something is queued is not so."""
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def _row(
    plan: Plan, step: Step, missing: Sequence[int], arrays: Sequence[Array], known: tuple[Sequence[float], Evidence]
) -> Row:
    name, gb = step.stage.name, known[0]
    covered = evidence.gb_of_tasks(step, gb)
    samples = known[1].get(name, [])
    rate = evidence.bytes_per_gb(samples) if samples else RULE_OF_THUMB.get(name, 0.0) * 1e9
    mine = [array for array in arrays if array.stage == name]
    workers, resources = step.resources.workers_per_element, step.resources
    queued = plan.settings["launch"]["kind"] == "slurm"
    return Row(
        stage=name,
        units=step.units,
        missing=len(missing),
        queued=sum(array.units for array in mine) if queued else None,
        elements=sum(array.elements for array in mine) if queued else None,
        arrays=len(mine) if queued else None,
        cpus=resources.cpus * workers,
        gpus=resources.gpus * workers,
        memory_gb=resources.memory_gb * workers,
        minutes=resources.minutes,
        partition=slurm_jobs.partition(plan, name) if queued else None,
        waits_for=step.waits_for,
        bytes=round(rate * sum(covered[unit] for unit in missing)),
        measured=bool(samples),
    )


def text(seen: Outlook, whole: bool = False) -> str:
    """For a terminal: the stages in a table, what they would leave, and what sbatch would be given.

    Args:
        whole: each text for sbatch as it is; else what they have in common stands there once.
    """
    what = f"{counted(seen.videos, 'video')} of {size(round(seen.gb * 1e9))} in {counted(seen.units, 'unit')}"
    head = [f"{seen.run}  plan {seen.plan}  launch={seen.launch}: {what}; a dry run, nothing is written or queued", ""]
    return "\n".join([*head, _table(seen), "", *_legend(seen), *seen.notes, *_scripts(seen, whole)])


def _legend(seen: Outlook) -> list[str]:
    queued = seen.launch == "slurm"
    said = ["missing: units that are not done" + "; queued: those that would be queued now" * queued]
    said.append("cpus, gpus, GB, minutes: of an element; after: it waits for that stage and all before it")
    measured = [row.stage for row in seen.rows if row.measured]
    by_rule = [row.stage for row in seen.rows if not row.measured and row.bytes]
    if measured:
        said.append(f"leaves: measured in this run or its pilot: {', '.join(measured)}")
    if by_rule:
        rule = "guessed from another run, of film at 0.46 Mbit/s (of a higher bit rate less is left per byte)"
        said.append(f"leaves: {rule}: {', '.join(by_rule)}; pilot=N measures yours, and the hours")
    return [
        *said,
        f"files: about {seen.files:,}: {FILES_PER_UNIT} for a unit and {evidence.FILES_PER_ELEMENT} for an element",
    ]


def _scripts(seen: Outlook, whole: bool) -> list[str]:
    """What sbatch would be given for the first array of each stage."""
    shown = {array.job: array.script for array in seen.arrays if array.script and array.job == f"@{array.stage}"}
    if not shown:
        return []
    told = ["", "@scan and its like stand for the numbers of jobs"]
    if whole or len(shown) == 1:
        return [*told, *(f"\n==> sbatch of {job} <==\n{script}" for job, script in shown.items())]
    common, own = in_common({job: _alike(job[1:], script) for job, script in shown.items()})
    told[-1] += "; --whole shows each text as it is"
    lines = [*told, "", f"==> sbatch of every stage; {_STANDS_FOR} <==", *common, "", "==> and what differs <=="]
    for job, differs in own.items():
        options = [line.removeprefix(_OPTION) for line in differs if line.startswith(_OPTION)]
        lines.append(" ".join([f"{job:<10}", *options]))
        lines += [f"{'':<10} {line}" for line in differs if not line.startswith(_OPTION)]
    return lines


def _alike(stage: str, script: str) -> list[str]:
    """The lines of a script, without what differs by the names of stage, array and job only."""
    named = re.sub(rf"(hpc-){stage}(-\w+-)[0-9a-f]{{8}}\b", r"\1STAGE\2ID", script)
    named = re.sub(rf"(/logs/){stage}(?=[/\s\"'])", r"\1STAGE", named)
    named = re.sub(r"/(?:%A_%a|%j)_", "/JOB_", named)
    named = re.sub(r"(?m)^(srun .*--cpus-per-task=)\d+", r"\1CPUS", named)
    return [line for line in named.splitlines() if line.strip()]


def in_common(texts: Mapping[str, Sequence[str]]) -> tuple[list[str], dict[str, list[str]]]:
    """The lines that all texts have, in the order of the first, and by text those that not all have."""
    every = set.intersection(*(set(lines) for lines in texts.values()))
    first = next(iter(texts.values()))
    return [line for line in first if line in every], {
        name: [line for line in lines if line not in every] for name, lines in texts.items()
    }


def _table(seen: Outlook) -> str:
    lines = [
        ["stage", "units", "missing", "queued", "elements", "arrays", "cpus", "gpus", "GB", "minutes", "partition"]
    ]
    lines[0] += ["leaves", "after"]
    last = _last({row.stage: row.waits_for for row in seen.rows})
    for row in seen.rows:
        resources = [row.cpus, row.gpus, row.memory_gb, row.minutes, row.partition]
        counts = [row.units, row.missing, row.queued, row.elements, row.arrays]
        lines.append(
            [row.stage, *map(cell, [*counts, *resources, size(row.bytes or None), ", ".join(last[row.stage])])]
        )
    lines.append(["together", *[""] * 10, size(sum(row.bytes for row in seen.rows)), ""])
    return aligned(lines)


def _last(waits_for: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Of what each stage waits for, that which does not come before another of it anyway."""
    before: dict[str, set[str]] = {}
    for stage, names in waits_for.items():
        before[stage] = {*names, *(earlier for name in names for earlier in before[name])}
    return {
        stage: [name for name in names if not any(name in before[other] for other in names)]
        for stage, names in waits_for.items()
    }
