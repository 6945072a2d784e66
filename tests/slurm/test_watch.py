"""Watching a run on a real Slurm: what a log shows, whose log it is, why it ended, and what cancel leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import curate
from waiting import eventually

pytestmark = pytest.mark.timeout(600)

SMALL = ("stage=[scan,shots]", "measure=[exposure]", "cutter=stride", "unit.videos=1", "launch.array_parallelism=2")
CLUSTER = ("launch=slurm", "launch.cpu_partition=cpu", "launch.grace_s=5", *SMALL)


def slurm_says(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def until(run: Path, goal: Callable[[dict[str, Any]], bool], within_s: float = 240) -> dict[str, Any]:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        seen: dict[str, Any] = json.loads(curate("status", str(run), "--json"))
        if goal(seen["stages"][0]):
            return seen
        time.sleep(1)
    raise AssertionError(f"not within {within_s} s: {json.dumps(seen, indent=1)}")


@pytest.fixture
def queued(slurm: None, held_ffmpeg: Path, make_video: Callable[..., Path], tmp_path: Path) -> Path:
    """A run of six short videos, one of them broken, just queued; it ends when `held_ffmpeg` is deleted."""
    for number in range(5):
        make_video(f"videos/{number}.mp4")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    curate("run", f"input={tmp_path / 'videos'}", f"run_dir={tmp_path / 'run'}", *CLUSTER)
    return tmp_path / "run"


def test_a_run_is_watched_to_its_end_and_a_video_that_failed_leads_to_its_log(queued: Path, held_ffmpeg: Path) -> None:
    until(queued, lambda scan: scan["running"] > 0)
    watch = [sys.executable, "-m", "hpc_curate", "status", queued, "--watch"]
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout and "running" in watching.stdout.readline()
        held_ffmpeg.unlink()
        *_, last = watching.stdout
    assert watching.returncode == 0
    assert "12 of 12 units" in last and " done, " in last
    said = curate("logs", str(queued), "--of", "broken.mp4")
    told, _, log = said.partition(f"==> {queued}/logs/scan/")
    assert "Invalid data found" in told and "shots" not in said
    assert "scan unit" in log  # what its worker wrote


def test_cancel_takes_what_is_ours_and_the_end_of_each_attempt_is_known(queued: Path) -> None:
    foreign = slurm_says("sbatch", "--parsable", "--partition=gpu", "--output=/dev/null", "--wrap=sleep 900").strip()
    until(queued, lambda scan: scan["running"] > 0)
    assert "cancelled scan, job" in curate("cancel", str(queued))
    eventually(lambda: slurm_says("squeue", "-h", "-o", "%A").split() == [foreign])
    seen = json.loads(curate("status", str(queued), "--json"))
    assert seen["state"] == "blocked"
    assert "nothing runs or is queued" in curate("status", str(queued))
    assert "nothing of this run" in curate("cancel", str(queued))
