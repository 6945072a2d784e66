"""The line as job arrays on a real Slurm: what is killed, requeued or lost on the way changes nothing in the tars."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import curate

from hpc_curate import plan

pytestmark = pytest.mark.timeout(3000)

CLUSTER = ("launch=slurm", "launch.cpu_partition=cpu", "launch.gpu_partition=gpu", "launch.grace_s=5")
VIDEOS = 12


@pytest.fixture(scope="session")
def videos(footage: Path, ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos: pieces of the film with cuts, a street, a live session in other containers, one broken file."""
    folder = tmp_path_factory.mktemp("videos")
    for at, start in enumerate(range(60, 360, 50)):
        command = [ffmpeg, "-v", "error", "-ss", str(start), "-i", footage / "bbb.mp4", "-t", "14", "-an"]
        scale = ["-vf", "scale=640:-2", "-c:v", "libx264", "-preset", "ultrafast", folder / f"film{at}.mp4"]
        subprocess.run([*command, *scale], check=True)
    for name in ("bikes.mp4", "demo.mp4", "demo.webm", "demo.avi", "demo.mkv"):
        shutil.copy(footage / name, folder / name)
    (folder / "broken.mp4").write_bytes((footage / "bikes.mp4").read_bytes()[:20_000])
    assert len(list(folder.iterdir())) == VIDEOS
    return folder


@pytest.fixture(scope="session")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("local") / "run"
    curate("run", f"input={videos}", f"run_dir={run}", "launch=local", *settings())
    return tars(run)


def settings(*more: str) -> list[str]:
    """Small pictures pass the rules, so that every container of the session reaches the tars; a GPU for `embed`."""
    rules = ["crop_short_side_px=null", "motion=null", "fps=null", "luma_mean=null"]
    lenient = [f"stage.{stage}.rules.{rule}" for stage in ("select", "gate") for rule in rules]
    return [*lenient, "unit.videos=2", "stage.shard.max_samples=4", "resources.embed.gpus=1", *more]


def tars(run: Path) -> dict[str, bytes]:
    """The product, without what names the run."""
    (folder,) = run.glob("pack/*/tars")
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert any(name.endswith(".tar") for name in found)
    return found


def status(run: Path) -> dict[str, Any]:
    return json.loads(curate("status", str(run), "--json"))


def until(run: Path, goal: Callable[[dict[str, Any]], bool], within_s: float = 1200) -> dict[str, Any]:
    end = time.time() + within_s
    while time.time() < end:
        seen = status(run)
        if goal(seen):
            return seen
        time.sleep(1)
    raise AssertionError(f"not within {within_s} s: {json.dumps(seen, indent=1)}\n{curate('logs', str(run))}")


def stage(seen: dict[str, Any], name: str) -> dict[str, Any]:
    return next(found for found in seen["stages"] if found["stage"] == name)


def ended(seen: dict[str, Any]) -> bool:
    return seen["state"] in ("done", "failed", "blocked")


def slurm_says(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def running(run: Path, name: str) -> list[str]:
    """Ids of the running elements of a stage of this run."""
    latest = (run / "latest").read_text().strip()
    lines = slurm_says("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i %j").splitlines()
    return [line.split()[0] for line in lines if f"hpc-{name}-{latest}" in line]


def test_the_whole_line_queued_in_one_go_makes_the_same_tars(
    slurm: None, videos: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    queue = [f"input={videos}", f"run_dir={run}", *CLUSTER, *settings()]
    curate("run", *queue)
    before = slurm_says("squeue", "-h", "-r", "-o", "%j")
    curate("run", *queue)  # on a running folder: nothing twice
    assert len(before.splitlines()) >= len(slurm_says("squeue", "-h", "-r", "-o", "%j").splitlines())
    (script,) = (run / "logs" / "embed").glob("[0-9]*_submission.sh")
    for option in ("--partition=gpu", "--gres=gpu:1", "--dependency=afterany:"):
        assert f"#SBATCH {option}" in script.read_text()
    seen = until(run, ended)
    assert seen["state"] == "done", seen
    assert stage(seen, "scan")["units"] >= 6
    assert tars(run) == undisturbed
    assert "broken.mp4" in json.dumps([path.name for path in videos.iterdir()])


def test_killed_requeued_and_a_node_down_cost_nothing(
    slurm: None, videos: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    curate("run", f"input={videos}", f"run_dir={run}", *CLUSTER, *settings("launch.array_parallelism=2"))
    until(run, lambda seen: len(running(run, "scan")) >= 2)
    killed, requeued = running(run, "scan")[:2]
    slurm_says("scancel", "--signal=KILL", killed)
    slurm_says("scontrol", "requeue", requeued)
    until(run, lambda seen: bool(running(run, "cut")) or stage(seen, "cut")["done"] == stage(seen, "cut")["units"])
    cutting = running(run, "cut")
    if cutting:
        node = slurm_says("squeue", "-h", "-r", "-j", cutting[0], "-o", "%N").strip()
        slurm_says("scontrol", "update", f"node={node}", "state=down", "reason=test")
        slurm_says("scontrol", "update", f"node={node}", "state=resume")
    until(run, ended)
    if status(run)["state"] != "done":  # the element that was killed is not requeued by Slurm
        curate("retry", str(run))
        until(run, ended)
    seen = status(run)
    assert seen["state"] == "done", seen
    assert tars(run) == undisturbed


def test_more_units_than_an_array_may_hold(slurm: None, ffmpeg: str, tmp_path: Path) -> None:
    one = tmp_path / "one.mp4"
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:r=5:d=1", "-c:v", "libx264", one]
    subprocess.run(command, check=True)
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(250):
        (folder / f"{number}.mp4").hardlink_to(one)
    run = tmp_path / "run"
    small = ["stage=[scan]", "unit.videos=1", "measure=[exposure]", "cutter=stride"]
    packed = ["launch.max_submit_jobs=102", "launch.waves=false"]
    curate("run", f"input={folder}", f"run_dir={run}", *CLUSTER, *packed, *small)
    arrays = {line for line in slurm_says("squeue", "-h", "-o", "%F %j").splitlines() if "hpc-scan" in line}
    assert len(arrays) == 2  # of 101 elements and one, two or three units each
    seen = until(run, ended)
    assert seen["state"] == "done", seen
    assert [found["done"] for found in seen["stages"]] == [250]


def test_a_unit_that_fails_blocks_the_merges_until_it_is_retried(
    slurm: None, videos: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    curate("run", f"input={videos}", f"run_dir={run}", "launch=none", *settings())
    line = plan.load_latest(run)
    obstacle = line.paths.rows("gate", line.static_signature("gate"), 3)
    obstacle.mkdir(parents=True)  # a folder where the file should come: the unit cannot be published
    curate("run", f"input={videos}", f"run_dir={run}", *CLUSTER, *settings())
    seen = until(run, ended)
    assert seen["state"] == "failed"
    assert stage(seen, "gate")["failed"] == 1
    assert stage(seen, "dedup")["blocked"] == 1
    obstacle.rmdir()
    curate("retry", str(run))
    seen = until(run, ended)
    assert seen["state"] == "done", seen
    assert tars(run) == undisturbed
