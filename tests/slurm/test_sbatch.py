"""slurm/one_unit.sbatch on a real Slurm: an array over units with nothing but sbatch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import eventually

from hpc_curate import cli, plan
from hpc_curate.plan import Plan
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

SCRIPT = Path(__file__).resolve().parents[2] / "slurm" / "one_unit.sbatch"


@pytest.fixture
def line(slurm: None, make_video: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A planned run of two units; `hpc-curate` is on the PATH of its jobs."""
    one = make_video("videos/0.mp4")
    shutil.copy(one, one.with_name("1.mp4"))
    program = tmp_path / "bin" / "hpc-curate"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpc_curate "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.chdir(tmp_path)
    words = [f"input={one.parent}", "run_dir=run", "unit.videos=1", "launch=none"]
    subprocess.run([program, "run", *words], check=True)
    return plan.load_latest(tmp_path / "run")


def sbatch(*words: str, wait: bool = True) -> str:
    """Submit the script as a user would; the id of the job, and its array's exit code if waited for."""
    command = ["sbatch", "--parsable", *(["--wait"] if wait else []), "--partition=cpu", "--mem=100M", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()


def shown(job: str, field: str) -> str:
    """A field of a job, also after its end."""
    text = subprocess.run(["scontrol", "-o", "show", "job", job], check=True, capture_output=True, text=True).stdout
    return next(word.partition("=")[2] for word in text.split() if word.startswith(f"{field}="))


def missing(line: Plan, stage: str) -> list[int]:
    return State(line, Ledger(line.paths)).missing(stage)


def test_an_array_does_its_units_and_a_unit_that_fails_is_an_element_that_fails(line: Plan) -> None:
    obstacle = line.paths.rows("shots", line.static_signature("shots"), 1)
    obstacle.mkdir(parents=True)  # a folder where the file should come: the unit cannot be published
    job = sbatch("--array=0-1", str(SCRIPT), "run", "scan", "shots")
    assert [shown(f"{job}_{unit}", "JobState") for unit in range(2)] == ["COMPLETED", "FAILED"]
    assert shown(f"{job}_1", "ExitCode") == "1:0"
    assert (missing(line, "scan"), missing(line, "shots")) == ([], [1])
    assert str(obstacle) in Path(f"hpc-curate-{job}_1.log").read_text()


def test_stages_before_the_first_merge_and_then_the_merge_itself(line: Plan) -> None:
    array = sbatch("--array=0-1", str(SCRIPT), "run", wait=False)
    merge = sbatch(f"--dependency=afterany:{array}", str(SCRIPT), "run", "dedup", "select")
    assert shown(merge, "JobState") == "COMPLETED"
    assert [missing(line, stage) for stage in ("scan", "shots", "gate", "embed", "dedup", "select")] == [[]] * 6


def test_near_its_time_limit_it_goes_back_into_the_queue_and_a_cancelled_one_does_not(line: Plan) -> None:
    # The worker stops between two items, and here the first is not over before the signal comes.
    stopper = Path("bin/hpc-curate")
    real = stopper.read_text()
    stopper.write_text("#!/bin/sh\ntrap 'exit 75' USR1 TERM\ntouch started\nwhile sleep 0.2; do :; done\n")
    job = sbatch("--time=60", "--signal=USR1@60", str(SCRIPT), "run", "scan", "--unit", "0", wait=False)
    eventually(Path("started").exists)
    Path("bin/real").write_text(real)
    Path("bin/real").chmod(0o755)
    # Slurm looks at the limits every 30 s: it warns at once whoever has less than 30 s + 60 s left.
    subprocess.run(["scontrol", "update", f"JobId={job}", "EndTime=now+90"], check=True)
    eventually(lambda: shown(job, "Restarts") == "1")
    subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=60"], check=True)
    Path("bin/real").replace(stopper)
    Path("started").unlink()
    eventually(lambda: shown(job, "JobState") == "COMPLETED")
    assert missing(line, "scan") == [1]

    stopper.write_text("#!/bin/sh\ntrap 'exit 75' USR1 TERM\ntouch started\nwhile sleep 0.2; do :; done\n")
    job = sbatch(str(SCRIPT), "run", "scan", "--unit", "1", wait=False)
    eventually(Path("started").exists)
    subprocess.run(["scancel", job], check=True)
    eventually(lambda: shown(job, "JobState") == "CANCELLED")
    time.sleep(5)
    assert (shown(job, "JobState"), shown(job, "Restarts")) == ("CANCELLED", "0")


def test_a_unit_that_the_run_has_not_is_refused(line: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["work", "run", "scan", "--unit", "2"]) == 2
    assert "scan has units 0 to 1, not 2" in capsys.readouterr().err
