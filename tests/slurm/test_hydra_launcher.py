"""Hydra's own Slurm launcher: `-m hydra/launcher=submitit_slurm work.units=…` on a real Slurm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import eventually

from hpc_curate import plan
from hpc_curate.plan import Plan
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
pytestmark = pytest.mark.timeout(600)

LAUNCHER = ("-m", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=cpu")


@pytest.fixture
def words(slurm: None, make_video: Callable[..., Path], tmp_path: Path) -> list[str]:
    """What is said of a run of four units, before what a job does of it."""
    one = make_video("videos/0.mp4")
    for number in range(1, 4):
        shutil.copy(one, one.with_name(f"{number}.mp4"))
    return ["run", *LAUNCHER, f"input={one.parent}", f"run_dir={tmp_path / 'run'}", "unit.videos=1"]


def start(words: list[str], checkout: Path | None = None) -> subprocess.Popen[str]:
    """The command, which waits for its jobs; optionally of another copy of the code."""
    environment = {**os.environ, **({"PYTHONPATH": str(checkout)} if checkout else {})}
    command = [sys.executable, "-m", "hpc_curate", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def states(run: Path) -> dict[str, str]:
    """State and exit code of every job that the launcher has started for this run, by unit."""
    (script,) = run.glob("logs/hydra/*/.submitit/*/*submission.sh")
    shown = ["scontrol", "-o", "show", "job", script.parent.name.partition("_")[0]]
    lines = subprocess.run(shown, check=True, capture_output=True, text=True).stdout.splitlines()
    fields = [dict(word.partition("=")[::2] for word in line.split()) for line in lines]
    return {job["ArrayTaskId"]: f"{job['JobState']} {job['ExitCode']}" for job in fields}


def missing(line: Plan, stage: str) -> list[int]:
    return State(line, Ledger(line.paths)).missing(stage)


def test_units_are_one_array_and_a_failing_element_is_a_failing_job(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    subprocess.run([sys.executable, "-m", "hpc_curate", "run", *words[4:], "launch=none"], check=True)
    prepared = plan.load_latest(run)
    obstacle = prepared.paths.rows("shots", prepared.static_signature("shots"), 3)
    obstacle.mkdir(parents=True)  # a folder where the file should come: the unit cannot be published
    done = start([*words, "work.units=range(0,4)"])
    said, _ = done.communicate(timeout=300)
    assert done.returncode == 1 and "exit code 1" in said and "work.units=3" in said, said
    expected = {unit: "COMPLETED 0:0" if unit != "3" else "FAILED 1:0" for unit in "0123"}
    eventually(lambda: states(run) == expected)  # COMPLETING for a moment
    line = plan.load_latest(run)
    assert [missing(line, stage) for stage in ("scan", "shots", "gate", "embed")] == [[], [3], [3], [3]]

    obstacle.rmdir()
    done = start([*words, "work.units=3", "work.stages=[shots,gate,embed]"])
    said, _ = done.communicate(timeout=300)
    assert done.returncode == 0, said
    assert [missing(line, stage) for stage in ("scan", "shots", "gate", "embed")] == [[]] * 4


def test_a_job_does_what_was_asked_when_it_was_queued(words: list[str], checkout: Path, tmp_path: Path) -> None:
    later = "+hydra.launcher.additional_parameters={begin:'now+10'}"
    began = start([*words, "work.units=0", "work.stages=scan", later], checkout)
    run = tmp_path / "run"
    while not list(run.glob("logs/hydra/*/.submitit/*/*_submitted.pkl")):
        assert began.poll() is None, began.communicate()[0]
        time.sleep(0.2)
    recipe = checkout / "conf" / "recipe" / "default.yaml"
    edited = (
        recipe.read_text()
        .replace("/cutter: [adaptive, gradual]", "/cutter: stride")
        .replace("motion, exposure", "motion")
    )
    recipe.write_text(edited)
    said, _ = began.communicate(timeout=300)
    assert began.returncode == 0, said
    line = plan.load_latest(run)
    assert "exposure" in line.settings["measure"]
    (folder,) = (run / "scan").iterdir()
    assert folder.name == line.static_signature("scan")
    assert missing(line, "scan") == [1, 2, 3]


def test_a_job_that_is_told_to_stop_goes_back_into_the_queue_and_is_waited_for(
    words: list[str], held_ffmpeg: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    began = start([*words, "unit.videos=4", "work.units=0", "work.stages=scan", "launch=slurm", "launch.grace_s=4"])

    def in_flight() -> bool:
        assert began.poll() is None, began.communicate()[0]
        return any(json.loads(path.read_text())["item"] for path in run.glob("scan/*/attempts/00000.json"))

    eventually(in_flight)
    (job,) = subprocess.run(["squeue", "-h", "-o", "%i"], check=True, capture_output=True, text=True).stdout.split()
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    show = ["scontrol", "-o", "show", "job", job]
    eventually(lambda: b"Restarts=1" in subprocess.run(show, check=True, stdout=subprocess.PIPE).stdout)
    held_ffmpeg.unlink()
    said, _ = began.communicate(timeout=300)
    assert began.returncode == 0, said
    eventually(lambda: b"JobState=COMPLETED" in subprocess.run(show, check=True, stdout=subprocess.PIPE).stdout)
    assert b"Restarts=1" in subprocess.run(show, check=True, stdout=subprocess.PIPE).stdout
    line = plan.load_latest(run)
    assert missing(line, "scan") == []
    record = Ledger(line.paths).record("scan", line.static_signature("scan"), 0)
    assert record is not None and record.rows == 4
