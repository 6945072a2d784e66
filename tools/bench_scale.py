#!/usr/bin/env python3
"""What a run of 100,000 units and 10,000,000 clips costs the commands that look at all of it, without a video.

    tools/bench_scale.py [--scale 0.1] [--folder DIR] [--only STEP,STEP]

A synthetic run folder is filled (synthetic_run.py), and each command is measured in a process of its own: seconds,
seconds of CPU, and the most memory it held. Files and folders of the run are counted, and the scheduler's commands by
a fake one. Scale 0.1, a tenth of the above, takes some minutes. A folder that is given is kept; `--only` goes on in it,
or measures steps once more, after a change to the code for one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import synthetic_run
from synthetic_run import Synthetic

from hpc_curate import launch, plan
from hpc_curate.element.worker import Allocation, Element
from hpc_curate.monitoring import overview
from hpc_curate.run_folder import accounting, books
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State

UNITS = 100_000
ELEMENT = 10  # units of one element
_FAKE = Path(__file__).resolve().parent.parent / "tests" / "fake_slurm" / "fake.py"


def _saved(folder: Path) -> plan.Plan:
    return plan.load_latest(folder / "run")


# -- what is measured: each gets the folder and says what it saw -----------------------------------------------------


def make_plan(folder: Path) -> str:
    return f"{synthetic_run.planned(folder).units} units"


def queue(folder: Path) -> str:
    """launch.run of a run in which nothing is done, before a scheduler that only counts."""
    state, programs = folder / "slurm", folder / "bin"
    for place in (state, programs):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sacctmgr", "srun"):
        (programs / name).write_text(f"#!{sys.executable}\n{_FAKE.read_text()}")
        (programs / name).chmod(0o755)
    os.environ |= {"FAKE_SLURM": str(state), "PATH": f"{programs}:{os.environ['PATH']}"}
    line = _saved(folder)
    launch.run(line)
    calls = (state / "calls").read_text().split()
    shutil.rmtree(line.paths.submissions)
    per_thousand = 1000 * len(calls) / line.units
    return f"{len(calls)} scheduler calls, {calls.count('sbatch')} of them sbatch; {per_thousand:.2f} per 1000 units"


def status(folder: Path) -> str:
    seen = overview.look(_saved(folder))
    return f"{sum(stage.done for stage in seen.stages)} units done"


def missing(folder: Path) -> str:
    line = _saved(folder)
    state = State(line, Ledger(line.paths))
    return f"{sum(len(state.missing(name)) for name in line.steps)} missing"


def record(folder: Path) -> str:
    """The record of one unit, as a task of one unit looks it up."""
    line = _saved(folder)
    ledger = Ledger(line.paths)
    began = time.perf_counter()
    numbers = range(0, line.units, max(1, line.units // 50))
    found = [ledger.record("embed", line.static_signature("embed"), unit) for unit in numbers]
    assert all(found)
    return f"{1000 * (time.perf_counter() - began) / len(found):.1f} ms each"


def merge(name: str) -> Callable[[Path], str]:
    def task(folder: Path) -> str:
        line = _saved(folder)
        shutil.rmtree(line.paths.root / name, ignore_errors=True)  # what an earlier measurement made
        assert Element(line, name, Allocation()).run([0]) == 0
        return ""

    return task


def element(folder: Path) -> str:
    """What an array element behind a merge reads before and beside its real work: cut, ten units that are done."""
    line = _saved(folder)
    task = Element(line, "cut", Allocation())
    units = [number * line.units // ELEMENT for number in range(ELEMENT)]
    assert task.run(units) == 0
    state = task._look()
    clips = 0
    for unit in units:
        reader = Reader(state, "cut", unit)
        clips += reader.clips(["start_pts", "end_pts", "frame_count"]).num_rows + len(reader.videos())
    return f"{ELEMENT} units, {clips} rows"


def group(folder: Path) -> str:
    """What an element of pack reads before it copies: every column of its clips, which lie in all units."""
    line = _saved(folder)
    stage = line.steps["pack"].stage
    read = stage.load(line.steps["pack"].resources)
    read.read(Reader(State(line, Ledger(line.paths), verify=False), "pack", 0))
    return f"one of {line.steps['pack'].units} groups, {read._clips.num_rows} clips"


def funnel(folder: Path) -> str:
    lines = accounting.funnel(books.read(_saved(folder), accounting.COUNTED), final=True).to_pylist()
    return f"{next(line['clips'] for line in lines if line['step'] == accounting.CLIPS_MADE)} clips accounted for"


# -- the course ------------------------------------------------------------------------------------------------------

Step = tuple[str, Callable[[Path], object]]  # what is measured, and how


def fill(name: str) -> Callable[[Path], object]:
    return lambda folder: getattr(Synthetic(_saved(folder)), name)()


# In this order; what is in brackets only fills the folder.
COURSE: dict[str, Step] = {
    "plan": ("plan", make_plan),
    "queue": ("launch.run, nothing done", queue),
    "scored": ("(scan, shots, gate, embed)", fill("scored")),
    "fold": ("status, the first, which folds", status),
    "status": ("status", status),
    "missing": ("what is missing, files looked at", missing),
    "record": ("record of one unit", record),
    "dedup": ("(dedup)", fill("dedup")),
    "select": ("select, the whole merge", merge("select")),
    "cut": ("(cut)", fill("cut")),
    "element": ("element of cut", element),
    "shard": ("shard, the whole merge", merge("shard")),
    "group": ("element of pack, its reading", group),
    "pack": ("(pack)", fill("pack")),
    "folded": ("element of cut, all folded", element),
    "finished": ("status, all done", status),
    "funnel": ("funnel", funnel),
}


def measure(folder: Path, step: str) -> None:
    """In a process of its own: one line of JSON."""
    begun, said = os.times(), COURSE[step][1](folder)
    ended = os.times()
    cpu = sum(ended[:4]) - sum(begun[:4])  # of this process and of those that it has waited for
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(json.dumps({"seconds": ended.elapsed - begun.elapsed, "cpu": cpu, "gib": peak, "said": said or ""}))


def files(folder: Path) -> int:
    """Files, links and folders of the run."""
    return sum(len(names) + len(folders) for _, folders, names in os.walk(folder / "run"))


def course(folder: Path, units: int, steps: Sequence[str]) -> None:
    """Every step, printed as it comes."""
    if "plan" in steps:
        synthetic_run.input_table(folder / "videos.parquet", units * synthetic_run.VIDEOS_PER_UNIT)
    print(f"{'':36} {'s':>8} {'CPU s':>8} {'GiB':>6} {'files':>8}")
    for step in steps:
        command = [sys.executable, __file__, "--folder", str(folder), "--step", step]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seen = json.loads(done.stdout.splitlines()[-1])
        measured = f"{seen['seconds']:8.1f} {seen['cpu']:8.1f} {seen['gib']:6.2f} {files(folder):8}"
        print(f"{COURSE[step][0]:36} {measured} {seen['said']}", flush=True)
    print(f"{files(folder) / _saved(folder).units:.2f} files per unit")


def chosen(text: str) -> list[str]:
    """Those steps of the course that are named, in its order."""
    unknown = sorted(set(text.split(",")) - set(COURSE))
    if unknown:
        raise argparse.ArgumentTypeError(f"no step {', '.join(unknown)}; there are {', '.join(COURSE)}")
    return [step for step in COURSE if step in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help=f"1: {UNITS} units")
    parser.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    parser.add_argument("--only", type=chosen, default=list(COURSE), help=f"of {', '.join(COURSE)}; needs --folder")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step is not None:
        measure(given.folder, given.step)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        course(folder, round(given.scale * UNITS), given.only)


if __name__ == "__main__":
    main()
