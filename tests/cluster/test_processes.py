"""Processes of launch=local: found and stopped from elsewhere, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import eventually

from hpc_curate import cli
from hpc_curate.cluster import processes
from hpc_curate.io.paths import RunPaths
from hpc_curate.run_folder import submissions
from hpc_curate.run_folder.submissions import Submission

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def started() -> Iterator[Callable[[str], str]]:
    """Starts a process whose last argument is given; returns its number."""
    every: list[subprocess.Popen[bytes]] = []

    def start(last: str) -> str:
        every.append(subprocess.Popen([sys.executable, "-c", SLEEP, last]))
        return str(every[-1].pid)

    yield start
    for process in every:
        process.kill()
        process.wait()


def record(*pids: str) -> Submission:
    elements = tuple((unit,) for unit in range(len(pids)))
    who = {"name": "hpc-scan-x", "stage": "scan", "plan": "x", "content": "c", "work": "w", "created": 0.0}
    return Submission(**who, elements=elements, job_id=f"local-{pids[0]}", pids=pids, here=True)


def is_gone(pid: str) -> bool:
    command = Path(f"/proc/{pid}/cmdline")
    return not command.exists() or not command.read_bytes()  # a zombie has none


def test_only_processes_that_log_into_the_run_folder_are_ours(tmp_path: Path, started: Callable[[str], str]) -> None:
    run = tmp_path / os.fsdecode(b"run\xe9")  # no UTF-8
    paths = RunPaths(run)
    for folder in (paths.logs("scan"), RunPaths(tmp_path / "other").logs("scan")):
        folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(run)
    mine = started(str(RunPaths(tmp_path / "link").logs("scan")))
    foreign = started(str(RunPaths(tmp_path / "other").logs("scan")))
    eventually(lambda: not is_gone(mine) and not is_gone(foreign))  # both have become what they were started as
    (live,) = processes.live(paths, [record(mine, foreign, "999999999")])
    assert (live.units, live.running) == ((0,), 1)
    assert processes.stop(paths, record(mine, foreign, "999999999")) == 1
    eventually(lambda: is_gone(mine))
    assert not is_gone(foreign)
    assert processes.live(paths, [record(mine, foreign)]) == []


def test_a_run_in_another_terminal_is_cancelled(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video("videos/0.mp4")
    for number in range(1, 500):  # far more work than there is time for until somebody cancels it
        os.link(video, video.with_name(f"{number}.mp4"))
    words = [f"input={tmp_path / 'videos'}", f"run_dir={tmp_path / 'run'}", "stage=[scan]", "unit.videos=500"]
    command = [sys.executable, "-m", "hpc_curate", "run", *words]
    terminal = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    paths = RunPaths(tmp_path / "run")
    eventually(lambda: any(processes.live(paths, [one]) for one in submissions.every(paths)))
    assert cli.main(["cancel", str(tmp_path / "run")]) == 0
    assert "asked 1 process on this machine" in capsys.readouterr().out
    said, _ = terminal.communicate(timeout=150)
    assert terminal.returncode == 1 and "not done" in said
    assert cli.main(["cancel", str(tmp_path / "run")]) == 0
    assert "nothing of this run" in capsys.readouterr().out
