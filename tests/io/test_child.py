"""Limited children: how each ends, and that none stays behind."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import eventually

from hpc_curate.errors import ConfigError
from hpc_curate.io import child
from hpc_curate.io.child import Child, Limits

AMPLE = Limits(memory_gb=4, cpu_s=60, wall_s=200, file_gb=0.01)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_stdin_goes_in_and_stdout_comes_out() -> None:
    data = os.urandom(1 << 20)
    assert child.run(["cat"], AMPLE, input=data).stdout == data


def test_a_child_that_ignores_its_input_is_no_error() -> None:
    assert child.run(["true"], AMPLE, input=b"x" * (1 << 20)).ok


@pytest.mark.parametrize(
    ("script", "limits", "reason"),
    [
        ("kill -SEGV $$", AMPLE, "crash (SIGSEGV)"),
        ("kill -ABRT $$", AMPLE, "crash (SIGABRT)"),
        ("kill -KILL $$", AMPLE, "killed (SIGKILL): out of memory?"),
        ("while :; do :; done", Limits(4, 1, 200, 0.01), "time limit: it used up its CPU seconds"),
        ("sleep 600", Limits(4, 9, 0.3, 0.01), "time limit: it was still running after its wall-clock limit"),
        ("trap '' TERM; sleep 600 & wait; sleep 600", Limits(4, 9, 0.3, 0.01), "time limit: it was still running"),
        ("exec head -c 20000000 /dev/zero > big", Limits(4, 60, 200, 0.001), "size limit: it wrote a file larger"),
        ("yes", AMPLE, "size limit: it wrote more than it may"),
        ("echo one >&2; echo '[x @ 0x7f00aa] two' >&2; exit 3", AMPLE, "[x] two"),
        ("printf 'a\\033[2Jb' >&2; exit 3", AMPLE, "a?[2Jb"),
        ("exit 7", AMPLE, "ended with status 7 and said nothing"),
    ],
)
def test_how_it_failed_is_told_in_one_line(script: str, limits: Limits, reason: str, tmp_path: Path) -> None:
    finished = child.run(shell(script), limits, cwd=tmp_path)
    assert not finished.ok
    assert child.explain(finished).startswith(reason)


def test_memory_beyond_the_limit_is_refused() -> None:
    finished = child.run([sys.executable, "-c", "bytearray(3 * 10**9)"], replace(AMPLE, memory_gb=1))
    assert child.explain(finished) == "memory limit: it asked for more than it may have"


def test_the_environment_holds_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-in-the-environment")
    listed = child.run(["env"], AMPLE).stdout.decode()
    assert "canary" not in listed
    assert "LANG=C.UTF-8" in listed and "PATH=" in listed


def test_a_python_child_finds_this_package_and_stdin_is_closed() -> None:
    script = "import sys, hpc_curate.errors; print(repr(sys.stdin.read()))"
    assert child.run([sys.executable, "-c", script], AMPLE).stdout == b"''\n"


def test_the_tail_of_stderr_is_bounded() -> None:
    finished = child.run(shell("head -c 5000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1"), AMPLE)
    assert finished.stderr_tail.endswith("end\n")
    assert len(finished.stderr_tail) <= 8192


def test_its_whole_group_dies_with_the_context() -> None:
    with pytest.raises(KeyError), Child(shell("sleep 600 & echo $!; wait"), AMPLE) as running:
        grandchild = int(running.stdout.readline())
        raise KeyError
    eventually(lambda: gone(running.pid) and gone(grandchild))


def test_a_group_that_outlives_its_leader_dies_too() -> None:
    with Child(shell("sleep 600 >/dev/null 2>&1 & echo $!"), AMPLE) as running:
        grandchild = int(running.stdout.read())
        assert running.wait().ok
    eventually(lambda: gone(grandchild))


def test_inherited_pipes_carry_what_it_writes() -> None:
    reading, writing = os.pipe()
    writer = [sys.executable, "-c", f"import os; os.write({writing}, b'hello')"]
    with Child(writer, AMPLE, pass_fds=[writing]) as running:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read() == b"hello"
        assert running.wait().ok


def test_a_parent_killed_by_sigkill_takes_the_child_along() -> None:
    script = (
        "from hpc_curate.io.child import Child, Limits\n"
        "with Child(['sleep', '600'], Limits(4, 60, 600, 1)) as running:\n"
        "    print(running.pid, flush=True)\n"
        "    running.wait()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: gone(pid))


@pytest.mark.parametrize("name", ["HUP", "INT", "KILL", "TERM", "USR1", "USR2"])
def test_a_signal_that_a_scheduler_sends_to_all_of_a_task_counts_as_somebody_elses(name: str) -> None:
    before = child.killed_by_others()
    child.run(shell(f"kill -{name} $$"), AMPLE)
    assert child.killed_by_others() == before + 1


def test_the_ffmpeg_of_the_environment_is_taken_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "my ffmpeg"
    own.write_text("#!/bin/sh\necho ffmpeg version 1.2-mine Copyright\n")
    own.chmod(0o755)
    monkeypatch.setenv("HPC_CURATE_FFMPEG", str(own))
    assert child.ffmpeg() == str(own)
    assert child.ffmpeg_version() == "1.2-mine"


def test_a_wrong_ffmpeg_in_the_environment_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPC_CURATE_FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(ConfigError, match="HPC_CURATE_FFMPEG='/nowhere/ffmpeg'"):
        child.ffmpeg()


def test_a_name_is_never_an_option_or_a_protocol() -> None:
    assert child.source("/a/-b:%03d.mp4") == "file:/a/-b:%03d.mp4"
    assert child.source("relative").startswith("file:/")


def test_an_exception_between_threads_kills_the_children_that_run_and_starts_no_more(tmp_path: Path) -> None:
    def work(number: int) -> None:
        if number == 0:
            raise ValueError("enough")
        (tmp_path / str(number)).touch()
        child.run(["sleep", "190"], AMPLE)

    began = time.monotonic()
    with pytest.raises(ValueError, match="enough"):
        child.in_threads(work, range(20), 2)
    assert time.monotonic() - began < 150
    assert len(list(tmp_path.iterdir())) < 5


def test_the_address_space_of_a_child_is_bounded_unless_it_must_not_be():
    script = "import resource; print(resource.getrlimit(resource.RLIMIT_AS)[0])"
    told = [int(child.run([sys.executable, "-c", script], replace(AMPLE, memory_gb=gb)).stdout) for gb in (2, math.inf)]
    assert told == [2_000_000_000, resource.getrlimit(resource.RLIMIT_AS)[0]]


def test_a_child_stays_on_the_gpu_of_its_task(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    told = child.run([sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"], AMPLE)
    assert told.stdout == b"3\n"
