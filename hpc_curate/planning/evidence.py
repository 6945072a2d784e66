"""What the stages of a line have cost so far, measured against the source bytes that they covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hpc_curate import plan as plans
from hpc_curate import units
from hpc_curate.io.paths import RunPaths
from hpc_curate.plan import Plan, Step
from hpc_curate.run_folder.ledger import Ledger, Record
from hpc_curate.run_folder.state import State
from hpc_curate.stage import Merge, PerUnit

FILES_PER_ELEMENT = 3  # submitit's pickles, and the log
_LEAST_GB = 1e-6  # an empty file takes a process and a row as well


@dataclass(frozen=True)
class Sample:
    """One task that is done."""

    gb: float  # source bytes that it covered
    seconds: float
    cpu_s: float  # 0: not measured
    memory_gb: float  # 0: not measured
    bytes: int  # that it left in the run folder
    files: int
    attempts: int
    host: str
    resumed: bool  # seconds, CPU and memory are of a part of it
    rows: int | None = None  # None: its stage makes no rows of clips


Evidence = dict[str, list[Sample]]  # by stage


def gb_of_units(videos: pa.Table, count: int) -> list[float]:
    """Source GB of each unit, from a table of `UNITS`; a video of unknown size counts as the mean of the others, or as
    1 GB if no size is known."""
    sizes = videos["bytes"].to_numpy().astype(np.float64)  # float64 [N]
    known = sizes[sizes >= 0]
    sizes[sizes < 0] = known.mean() if len(known) else 1e9
    total = np.bincount(videos["unit"].to_numpy(), weights=sizes, minlength=count)[:count]
    return [max(float(size) / 1e9, _LEAST_GB) for size in total]


def gb_of_tasks(step: Step, gb: Sequence[float]) -> list[float]:
    """What each task of a stage covers, given the GB of the units: a merge all of it, a group its share."""
    if isinstance(step.stage, Merge):
        return [sum(gb)]
    assert isinstance(step.stage, PerUnit)
    return list(gb) if step.stage.units_from is None else [sum(gb) / step.units] * step.units


def gather(plan: Plan) -> Evidence:
    """What the tasks of a plan have cost, in its run and in the pilot of it."""
    found = _of_run(plan)
    if plan.paths.pilot.latest.exists():
        for stage, samples in _of_run(plans.load_latest(plan.paths.pilot.root)).items():
            found[stage] = [*found.get(stage, []), *samples]
    return found


def _of_run(plan: Plan) -> Evidence:
    ledger = Ledger(plan.paths)
    state = State(plan, ledger, verify=False)
    gb = gb_of_units(units.all_videos(plan.paths), plan.units)
    found: Evidence = {}
    for name, step in plan.steps.items():
        covered = gb_of_tasks(step, gb)
        signature = state.signature(name)
        records = ledger.records(name, signature) if signature else {}
        done = [(record, covered[unit]) for unit, record in records.items() if unit < len(covered)]
        found[name] = [_sample(step, record, gb_of_task) for record, gb_of_task in done]
    return found


def _sample(step: Step, record: Record, gb: float) -> Sample:
    sizes = [output.bytes for output in record.outputs] + [size for _, size in record.files]
    costs = (record.seconds, record.cpu_s, record.memory_gb)
    # One more file: the record itself.
    rows = record.rows if "rows" in step.stage.writes() else None
    return Sample(gb, *costs, sum(sizes), len(sizes) + 1, record.attempt, record.host, record.resumed, rows)


def bytes_per_gb(samples: Sequence[Sample]) -> float:
    """What was left in the run folder for a GB of source."""
    return sum(sample.bytes for sample in samples) / sum(sample.gb for sample in samples)


def whole(given: Path, plan_hash: str | None = None) -> Plan:
    """The plan of a run folder; of a pilot, that of the run which it stands for.

    Raises:
        ConfigError: it is no run folder.
    """
    plan = plans.load_latest(given, plan_hash)
    return plans.load_latest(RunPaths(plan.paths.root).whole.root) if plan.settings.get("pilot") else plan
