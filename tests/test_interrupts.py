"""Ctrl-C reaches the command and all that it has started: one line says what is left, and which command goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def interrupted(reached: Callable[[], bool], *words: str) -> subprocess.CompletedProcess[str]:
    """A run in a group of its own, as a shell would start it, all of which is interrupted once it has got there."""
    command = [sys.executable, "-m", "hpc_curate", "run", *words]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 60
    while not reached() and started.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)
    out, err = started.communicate(timeout=60)
    return subprocess.CompletedProcess(command, started.returncode, out, err)


def test_in_local_processes_what_is_done_is_kept(make_video: Callable[..., Path], tmp_path: Path) -> None:
    videos = make_video("videos/one.mp4", "testsrc2=s=640x360:r=30:d=30").parent
    run = tmp_path / "run"
    words = (f"input={videos}", f"run_dir={run}", "stage=[scan,shots]")
    done = interrupted(lambda: any(run.glob("scan/*/attempts/*.json")), *words, "launch=local")
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


def test_a_local_run_that_is_cancelled_says_so_and_does_not_go_on(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    video = make_video("videos/0.mp4", "testsrc2=s=640x360:r=30:d=10")
    for number in range(1, 60):  # far more work than there is time for until somebody cancels it
        shutil.copy(video, video.with_name(f"{number}.mp4"))
    videos = video.parent
    run, program = tmp_path / "run", [sys.executable, "-m", "hpc_curate"]
    words = [f"input={videos}", f"run_dir={run}", "stage=[scan,shots]", "launch=local"]
    started = subprocess.Popen([*program, "run", *words], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not any(run.glob("scan/*/claims/**/*")) and time.monotonic() < until:
        time.sleep(0.05)
    assert "asked 1 process" in subprocess.run([*program, "cancel", str(run)], capture_output=True, text=True).stdout
    _, said = started.communicate(timeout=60)
    assert started.returncode == 1
    assert re.fullmatch(r"hpc-curate: scan: stopped by hpc-curate cancel, \d of 1 unit not done; the same .*\n", said)
    assert not any(run.glob("shots/*/records"))
    seen = subprocess.run([*program, "status", str(run)], capture_output=True, text=True).stdout
    assert "stopped by hpc-curate cancel" in seen


def test_while_queueing_what_is_queued_stays_so(scheduler: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "one.mp4").write_bytes(b"x")
    program = scheduler.parent / "bin" / "sbatch"
    fast = program.read_text()
    assert (answer := '    print(f"Submitted') in fast
    program.write_text(fast.replace(answer, '    (state / "accepted").touch(); import time; time.sleep(60)\n' + answer))
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
