"""Ctrl-C reaches the command and all that it has started: one line says what is left, and which command goes on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import eventually

PATIENCE_S = 150  # with a busy machine


@pytest.fixture
def far_too_many(make_video: Callable[..., Path]) -> str:
    """The words that give one unit more work than there is time for until somebody ends it, on any machine."""
    video = make_video("videos/0.mp4", "testsrc2=s=640x360:r=30:d=10")
    for number in range(1, 500):
        os.link(video, video.with_name(f"{number}.mp4"))
    return f"input={video.parent}"


def is_at_work(run: Path) -> bool:
    """Whether the worker of scan has begun, and its process is written down where the launcher and `cancel` look."""
    written = [json.loads(path.read_text()) for path in run.glob("submissions/*.json")]
    return any(one["pids"] for one in written) and any(run.glob("scan/*/attempts/*.json"))


def interrupted(reached: Callable[[], bool], *words: str) -> subprocess.CompletedProcess[str]:
    """A run in a group of its own, as a shell would start it, all of which is interrupted once it has got there."""
    command = [sys.executable, "-m", "hpc_curate", "run", *words]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        eventually(lambda: reached() or started.poll() is not None, PATIENCE_S)
        assert started.poll() is None, started.communicate()
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGINT)
    out, err = started.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(command, started.returncode, out, err)


def test_in_local_processes_what_is_done_is_kept(far_too_many: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = (far_too_many, "unit.videos=500", f"run_dir={run}", "stage=[scan,shots]")
    done = interrupted(lambda: is_at_work(run), *words, "launch=local")
    assert (done.returncode, done.stderr) == (
        130,
        "hpc-curate: interrupted; what is done is kept; the same command goes on\n",
    )
    said = subprocess.run(
        [sys.executable, "-m", "hpc_curate", "status", str(run), "--json"], capture_output=True, text=True
    )
    seen = json.loads(said.stdout)
    assert (seen["state"], seen["stages"][0]["causes"]) == ("interrupted", {"interrupted": 1})
    attempt = json.loads(next(run.glob("scan/*/attempts/*.json")).read_text())
    assert (run / "logs" / "scan" / f"{attempt['job'].removeprefix('local-')}_0_log.out").exists()


def test_workers_are_stopped_also_where_word_of_it_cannot_be_left(far_too_many: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [far_too_many, "unit.videos=500", f"run_dir={run}", "stage=[scan,shots]", "launch=local"]
    command = [sys.executable, "-m", "hpc_curate", "run", *words]
    with (tmp_path / "said").open("w") as said:
        started = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
    try:
        eventually(lambda: is_at_work(run), PATIENCE_S)
        (record,) = run.glob("submissions/*.json")
        (controller,) = json.loads(record.read_text())["pids"]
        record.unlink()
        record.mkdir()  # nothing can be written there, as on a disk that is full
        os.kill(started.pid, signal.SIGINT)
        assert started.wait(PATIENCE_S) != 0
        assert not Path("/proc", controller).exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


def test_a_second_interrupt_does_not_disturb_a_worker_that_leaves_word() -> None:
    script = (
        "import os, signal, types\n"
        "from hpc_curate.element.worker import catch_signals\n"
        "catch_signals(types.SimpleNamespace(stopped=''), 5.0)\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('left word')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left word\n", "")


def test_a_local_run_that_is_cancelled_says_so_and_does_not_go_on(far_too_many: str, tmp_path: Path) -> None:
    run, program = tmp_path / "run", [sys.executable, "-m", "hpc_curate"]
    words = [far_too_many, "unit.videos=500", f"run_dir={run}", "stage=[scan,shots]", "launch=local"]
    started = subprocess.Popen([*program, "run", *words], stderr=subprocess.PIPE, text=True)
    eventually(lambda: is_at_work(run) or started.poll() is not None, PATIENCE_S)
    assert "asked 1 process" in subprocess.run([*program, "cancel", str(run)], capture_output=True, text=True).stdout
    _, said = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == 1
    assert re.fullmatch(r"hpc-curate: scan: stopped by hpc-curate cancel, 1 of 1 unit not done; the same .*\n", said)
    assert not any(run.glob("shots/*/done"))
    seen = subprocess.run([*program, "status", str(run)], capture_output=True, text=True).stdout
    assert "stopped by hpc-curate cancel" in seen


def test_while_queueing_what_is_queued_stays_so(scheduler: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "one.mp4").write_bytes(b"x")
    program = scheduler.parent / "bin" / "sbatch"
    fast = program.read_text()
    assert (answer := '    print(f"Submitted') in fast
    program.write_text(
        fast.replace(answer, '    (state / "accepted").touch(); import time; time.sleep(600)\n' + answer)
    )
    run = tmp_path / "run"
    words = (f"input={videos}", f"run_dir={run}", "stage=[scan,shots]", "launch=slurm")
    done = interrupted((scheduler / "accepted").exists, *words)
    assert done.returncode == 130
    said = f"hpc-curate: interrupted; what is queued stays queued (hpc-curate cancel {run} takes it back); "
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1
    program.write_text(fast)
    again = subprocess.run(done.args, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    names = [line.split("|")[3] for line in (scheduler / "queue").read_text().splitlines()]
    assert len(names) == len(set(names)) == 2  # none was queued twice
