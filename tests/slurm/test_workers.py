"""Several workers on one node: each with its own GPUs, CPUs and units, and none the death of another."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from waiting import eventually

from hpc_curate import config, launch, run
from hpc_curate.plan import Plan
from hpc_curate.run_folder import submissions
from hpc_curate.run_folder.ledger import Attempt, Ledger

pytestmark = pytest.mark.timeout(600)

CLUSTER = ("launch=slurm", "launch.cpu_partition=cpu", "launch.gpu_partition=gpu", "launch.grace_s=5")
SMALL = ("stage=[scan]", "measure=[exposure]", "cutter=stride", "unit.videos=1")


@pytest.fixture
def videos(ffmpeg: str, tmp_path: Path) -> Path:
    """Four videos of a unit each, the largest first."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, seconds in enumerate((12, 9, 6, 3)):
        source = ["-f", "lavfi", "-i", f"testsrc=s=64x48:r=25:d={seconds}", "-c:v", "libx264", "-preset", "ultrafast"]
        subprocess.run([ffmpeg, "-v", "error", *source, folder / f"{name}.mp4"], check=True)
    return folder


def prepared(videos: Path, *overrides: str) -> Plan:
    config.register()
    common = [f"input={videos}", f"run_dir={videos.parent / 'run'}", *CLUSTER, *SMALL]
    return run.prepare(config.resolve(run.compose([*common, *overrides])))


def done(plan: Plan) -> set[int]:
    return set(Ledger(plan.paths).records("scan", plan.static_signature("scan")))


def squeue(*options: str) -> list[str]:
    command = ["squeue", "--noheader", "--array", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_each_worker_has_its_own_share_and_one_that_fails_leaves_the_other_alone(
    slurm: None, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_KILL_BAD_EXIT", "1")  # as some sites have it
    cpus = len(os.sched_getaffinity(0))
    each = max(1, min(2, cpus // 2))  # a node has four
    workers = ["+resources.scan.workers_per_element=2", "+resources.scan.units_per_element=2", "+resources.scan.gpus=1"]
    line = prepared(videos, *workers, f"resources.scan.cpus={each}", "resources.scan.memory_gb=2")
    obstacle = line.paths.parts("scan", line.static_signature("scan"), 1)
    obstacle.parent.mkdir(parents=True)
    obstacle.touch()  # where a folder should come: a bug, as far as the worker can tell
    launch.run(line)
    (submission,) = submissions.every(line.paths)
    assert submission.elements == ((0, 1, 2, 3),)
    job = submission.job_id
    (script,) = line.paths.logs("scan").glob("*_submission.sh")
    assert {"#SBATCH --gres=gpu:2", "#SBATCH --mem=4000M", "#SBATCH --ntasks-per-node=2"} <= set(
        script.read_text().splitlines()
    )
    eventually(lambda: not squeue("--format=%F"))
    assert done(line) == {0, 2}
    logs = [(line.paths.logs("scan") / f"{job}_{rank}_log.out").read_text() for rank in (0, 1)]
    bound = [re.findall(r"bound to GPUs (\S+), CPUs (\S+)", log) for log in logs]
    assert [gpus for ((gpus, _),) in bound] == ["0", "1"]
    shares = [set(numbers.split(",")) for ((_, numbers),) in bound]
    if cpus == 2 * each:
        assert [len(share) for share in shares] == [each, each] and not shares[0] & shares[1]
    assert "scan unit 0" in logs[0] and "scan unit 2" in logs[0] and "scan unit 1" not in logs[0]
    obstacle.unlink()
    launch.run(line)
    eventually(lambda: done(line) == {0, 1, 2, 3})


def caught(line: Plan) -> str:
    """The id of the element that does the first unit, once its worker is at a video, where ffmpeg keeps it."""

    def attempt() -> Attempt:
        return Ledger(line.paths).attempt("scan", line.static_signature("scan"), 0)

    eventually(lambda: attempt().item)
    return attempt().job


def restarts(job: str) -> str:
    shown = subprocess.run(["scontrol", "-o", "show", "job", job], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Restarts=(\d+)", shown)
    assert found, shown
    return found[1]


def test_an_element_that_is_warned_is_started_again(slurm: None, videos: Path, held_ffmpeg: Path) -> None:
    line = prepared(videos)
    launch.run(line)
    job = caught(line)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    eventually(lambda: restarts(job) == "1")
    held_ffmpeg.unlink()
    eventually(lambda: done(line) == {0, 1, 2, 3})


def test_an_element_that_is_preempted_in_time_to_stop_is_started_again(
    slurm: None, videos: Path, held_ffmpeg: Path
) -> None:
    line = prepared(videos, "launch.cpu_partition=spot")
    launch.run(line)
    job = caught(line)
    (node,) = squeue("--jobs", job, "--format=%N")
    take = ["sbatch", "--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(take, check=True, cwd=videos)
    eventually(lambda: restarts(job) == "1")
    held_ffmpeg.unlink()
    eventually(lambda: done(line) == {0, 1, 2, 3})


def test_an_element_that_is_cancelled_stays_cancelled(slurm: None, videos: Path, held_ffmpeg: Path) -> None:
    line = prepared(videos)
    launch.run(line)
    job = caught(line)
    subprocess.run(["scancel", job], check=True)
    eventually(lambda: not squeue(f"--jobs={job}"))
    held_ffmpeg.unlink()
    eventually(lambda: not squeue("--format=%F"))
    assert restarts(job) == "0" and done(line) == {1, 2, 3}


def test_waves_bring_more_elements_than_may_be_queued_to_their_end(
    slurm: None, videos: Path, held_ffmpeg: Path
) -> None:
    line = prepared(videos, "launch.max_submit_jobs=3", "stage=[scan,shots]")
    launch.run(line)
    assert len(squeue("--format=%F")) == 3  # two elements and the relay
    held_ffmpeg.unlink()
    end = [(stage, line.static_signature(stage)) for stage in ("scan", "shots")]
    ledger = Ledger(line.paths)
    eventually(lambda: all(len(ledger.records(*one)) == 4 for one in end), 240)
    queued = [one.units(range(len(one.elements))) for one in submissions.every(line.paths) if one.stage == "scan"]
    assert sorted(unit for units in queued for unit in units) == [0, 1, 2, 3]
