"""kill -9 at the steps of a publication: the same command again gives the same bytes, and leaves nothing behind."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import config, launch
from hpc_curate import run as runs
from hpc_curate.element.worker import Allocation, Element
from hpc_curate.plan import Plan

pytestmark = pytest.mark.timeout(3600)

SCRIPT = Path(__file__).with_name("one_stage.py")
STAGES = ("scan", "embed", "cut", "pack")
PICTURES = ("testsrc2=s=160x120:r=10:d=4", "mandelbrot=s=160x120:r=10", "life=s=160x120:r=10:seed=1")

# A step is an operation on a file; where a stage publishes several files, each of them has one.
TABLE, RECORD, TAR = r"\.\d{5}[^/]*\.parquet\.[^/]*tmp", r"done/\.\d{5}\.json\.[^/]*tmp", r"tars/\.[^/]*\.tar\.[^/]*tmp"
MOMENTS = {
    "before the write": ("os.mkdir", r"\w+/[0-9a-f]{16}"),
    "before the rename": ("os.rename", rf".*/({TABLE}|{TAR})"),
    "between rename and ledger": ("open", r"\w+/[0-9a-f]{16}(/tars)?"),
    "in the middle of the ledger": ("open", f".*/{RECORD}"),
    "before the rename in the ledger": ("os.rename", f".*/{RECORD}"),
    "after the ledger": ("os.remove", r".*/attempts/\d{5}\.json"),
}


@dataclass(frozen=True)
class Line:
    """A run that nothing disturbed, and the folder as it stood before some of its stages."""

    videos: Path
    root: Path
    before: Path
    operations: dict[str, list[tuple[str, str]]]  # that each stage does below the run folder


@pytest.fixture(scope="session")
def line(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("line")
    videos, before, root = folder / "videos", folder / "before", folder / "run"
    videos.mkdir()
    for number, picture in enumerate(PICTURES):
        command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", picture, "-t", "4", "-c:v", "libx264", "-g", "10"]
        subprocess.run([*command, "-pix_fmt", "yuv420p", videos / f"{number}.mp4"], check=True)
    plan = prepare(videos, root)
    operations = {}
    for name, step in plan.steps.items():
        if name in STAGES:
            shutil.copytree(root, before / name)
            watched = shutil.copytree(root, folder / name)
            lines = subprocess.run([sys.executable, SCRIPT, watched, name], check=True, stdout=subprocess.PIPE).stdout
            operations[name] = [tuple(json.loads(text)) for text in lines.splitlines()]
        assert Element(plan, name, Allocation()).run(range(step.units)) == 0
    assert leftovers(root) == []
    return Line(videos, root, before, operations)


def prepare(videos: Path, root: Path) -> Plan:
    """What the command `run` does before it launches: two units of small videos, of which every clip is kept."""
    config.register()
    overrides = ["launch=inline", "unit.videos=2", "gate=none", "cutter=stride", "cutter.stride.stride_s=2"]
    overrides += ["stage.shots.min_duration_s=1", "stage.select.duplicates=false", "stage.shard.groups=2"]
    composed = runs.compose([f"input={videos}", f"run_dir={root}", "stage.shard.max_samples=2", *overrides])
    settings = config.resolve(composed)
    settings["stage"]["select"]["rules"] = {}
    return runs.prepare(settings)


def published(root: Path) -> dict[str, bytes]:
    """Every table and every file of the product, by its path."""
    files = [*root.glob("*/*/*.parquet"), *root.glob("pack/*/tars/*")]
    found = {str(path.relative_to(root)): path.read_bytes() for path in files}
    assert any(name.endswith(".tar") for name in found)
    return found


def leftovers(root: Path) -> list[str]:
    """Temporary files, parts and attempts."""
    stages = [path for path in root.glob("*/*/**/*") if "logs" not in path.parts]
    lost = [path for path in stages if path.name.startswith(".") or {"parts", "attempts"} & {*path.parent.parts}]
    return sorted(str(path.relative_to(root)) for path in lost)


def steps(line: Line, stage: str, moment: str) -> list[int]:
    """The operations of a stage at which such a moment is."""
    event, path = MOMENTS[moment]
    found = [at for at, seen in enumerate(line.operations[stage]) if seen[0] == event and re.fullmatch(path, seen[1])]
    assert found, f"{stage} never comes to the moment {moment}"
    return found


def dies_and_resumes(line: Line, stage: str, root: Path, death: tuple[str, int]) -> None:
    """Kill the stage, run the line again, compare."""
    shutil.copytree(line.before / stage, root)
    command: list[Any] = [sys.executable, SCRIPT, root, stage, *map(str, death)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode in (-9, -25), f"{stage} {death}: it was to die, but {killed.stderr or 'it lived'}"
    launch.run(prepare(line.videos, root))
    assert published(root) == published(line.root), f"{stage} {death}"
    assert leftovers(root) == [], f"{stage} {death}"
    shutil.rmtree(root)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_a_step_of_its_publication_it_resumes_to_the_same_bytes(
    line: Line, stage: str, moment: str, tmp_path: Path
) -> None:
    at = random.Random(f"{stage} {moment}").choice(steps(line, stage, moment))
    dies_and_resumes(line, stage, tmp_path / "run", ("operation", at))


@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_the_middle_of_a_write_it_resumes_to_the_same_bytes(line: Line, stage: str, tmp_path: Path) -> None:
    largest = max(path.stat().st_size for path in line.root.glob(f"{stage}/**/*") if path.is_file())
    dies_and_resumes(line, stage, tmp_path / "run", ("size", largest - 1))


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_file_operation_it_resumes_to_the_same_bytes(line: Line, stage: str, tmp_path: Path) -> None:
    for at in range(len(line.operations[stage])):
        dies_and_resumes(line, stage, tmp_path / f"{at}", ("operation", at))
