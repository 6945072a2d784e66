"""Elements that ended before they came to a unit: seen, counted by why, their logs found, tried again by class."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli, launch
from hpc_curate.monitoring import causes
from hpc_curate.plan import Plan
from hpc_curate.run_folder import submissions

START = "submitit INFO (2026-11-23 04:19:40,101) - Starting with JobEnvironment(job_id=5_0, hostname=n3, rank=0(1))\n"
EXIT = "srun: error: n3: task 0: Exited with exit code 1\n"
IMPORT = (
    START
    + "submitit ERROR (2026-11-23 04:19:41,001) - Submitted job triggered an exception\n"
    + 'Traceback (most recent call last):\n  File "launch.py", line 1, in element\n    import av\n'
    + "ModuleNotFoundError: No module named 'av'\n"
    + EXIT
)
IMAGE = "FATAL:   could not open image /images/gone.sif: no such file or directory\n" + EXIT
NO_PYTHON = "slurmstepd-n3: error: execve(): /opt/python: No such file or directory\n" + EXIT
NO_PYTHON_STAMPED = "[2026-11-23T04:19:48.327] error: execve(): /opt/python: No such file or directory\n" + EXIT
OTHER_CODE = START + "2026-11-23 07:52:29,366 ERROR hpc-scan-1 was queued by other code than what runs here\n" + EXIT
OOM = START + "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=100.0.\n"
KILLED = START + "srun: error: n3: task 0: Killed\n"
BEGUN = START + "2026-11-23 07:52:22,870 INFO scan unit 6: 0 rows, 0 errors, 0.0 s\n" + EXIT
SAID = dict(enumerate([IMPORT, IMPORT, IMAGE, OTHER_CODE, OOM, KILLED, BEGUN]))


@pytest.fixture
def line(scheduler: Path, prepared: Callable[..., Plan]) -> Plan:
    """Nine elements that have left the queue, each with the log of its number; the last two without one."""
    line = prepared("stage=[scan]", units=9)
    launch.run(line)
    (scheduler / "queue").write_text("")
    line.paths.logs("scan").mkdir(parents=True, exist_ok=True)
    for unit, text in SAID.items():
        (line.paths.logs("scan") / f"100_{unit}_0_log.out").write_text(text)
    return line


@pytest.fixture
def ask(line: Plan, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def said(verb: str, *more: str) -> str:
        capsys.readouterr()
        assert cli.main([verb, str(line.paths.root), *more]) == 0
        return capsys.readouterr().out

    return said


def scan(said: str) -> dict[str, Any]:
    return json.loads(said)["stages"][0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (IMPORT, "ModuleNotFoundError: No module named 'av'"),
        (IMAGE, "FATAL:   could not open image /images/gone.sif: no such file or directory"),
        (NO_PYTHON, "slurmstepd: error: execve(): /opt/python: No such file or directory"),
        (NO_PYTHON_STAMPED, "error: execve(): /opt/python: No such file or directory"),
        (OTHER_CODE, "hpc-scan-1 was queued by other code than what runs here"),
        (IMPORT + KILLED, ""),
        (KILLED, ""),
        ("", ""),
    ],
)
def test_the_last_line_with_news_is_the_reason(text: str, reason: str) -> None:
    assert causes.reason(text) == reason


def test_they_are_counted_by_why_they_died(ask: Callable[..., str]) -> None:
    seen = scan(ask("status", "--json"))
    assert {kind: seen[kind] for kind in ("failed", "stopped", "pending")} == dict(failed=4, stopped=4, pending=1)
    assert seen["causes"] == {"oom": 1, "unknown": 1, "never_started": 2}
    assert list(seen["reasons"].items())[0] == ("ModuleNotFoundError: No module named 'av'", [0, 1])
    text = ask("status")
    assert "  failed\n" in text and "scan: 2 units (0, 1): ModuleNotFoundError: No module named 'av'" in text
    assert "1 oom, 1 unknown" in text and "2 never started" in text


def test_their_logs_are_found_and_one_stands_for_those_that_say_the_same(line: Plan, ask: Callable[..., str]) -> None:
    said = ask("logs")
    assert said.count("No module named 'av'\n==>") == 1 and "the same in 1 other log" in said
    assert "could not open image" in said and "and 1 other reason" in said and "INFO scan unit 6" not in said
    assert "Starting with" not in ask("logs", "--lines", "1")
    assert ask("logs", "--most", "9").count("==>") == 5


def test_retry_tells_them_apart(line: Plan, ask: Callable[..., str]) -> None:
    said = ask("retry", "--class", "oom")
    assert "oom          scan: 1 unit (4), killed for memory" in said
    assert "left alone   scan: 2 units (0, 1), failed: ModuleNotFoundError: No module named 'av'" in said
    assert "left alone   scan: 1 unit (5), transient: its worker died without a word" in said
    assert "as well      3 units that nobody has begun" in said
    last = submissions.every(line.paths)[-1]
    assert last.units(range(len(last.elements))) == {4, 6, 7, 8}


def test_what_is_queued_again_is_not_dead_any_more(line: Plan, ask: Callable[..., str]) -> None:
    ask("retry")
    seen = scan(ask("status", "--json"))
    assert (seen["queued"], seen["failed"], seen["stopped"]) == (8, 0, 1)


def test_where_slurm_is_silent_only_a_log_that_tells_its_end_counts(
    line: Plan, scheduler: Path, ask: Callable[..., str]
) -> None:
    (scheduler / "silent").touch()
    seen = scan(ask("status", "--json"))
    assert (seen["failed"], seen["causes"], seen["pending"]) == (4, {"oom": 1}, 4)


def test_an_element_that_waits_or_runs_is_not_judged_by_what_an_earlier_start_wrote(
    line: Plan, scheduler: Path, ask: Callable[..., str]
) -> None:
    (name,) = {one.name for one in submissions.every(line.paths)}
    (scheduler / "queue").write_text(f"100|0|PENDING|{name}\n100|1|RUNNING|{name}\n")
    seen = scan(ask("status", "--json"))
    assert (seen["queued"], seen["failed"]) == (2, 2)


def test_workers_that_share_an_element_die_alone(scheduler: Path, prepared: Callable[..., Plan]) -> None:
    line = prepared("stage=[scan]", "+resources.scan.workers_per_element=2", units=2)
    launch.run(line)
    (scheduler / "queue").write_text("")
    folder = line.paths.logs("scan")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "100_0_log.out").write_text(BEGUN.replace("unit 6", "unit 0"))
    (folder / "100_1_log.out").write_text(IMPORT)
    seen = _look(line)
    assert (seen["pending"], seen["reasons"]) == (1, {"ModuleNotFoundError: No module named 'av'": [1]})


def test_a_process_of_this_machine_that_is_gone_is_dead_and_one_of_another_may_be_at_work(
    prepared: Callable[..., Plan],
) -> None:
    line = prepared("stage=[scan]", "launch=local", units=2)
    gone = str(2**22 + os.getpid())  # above what Linux gives out
    made = submissions.prepare(line, "scan", [(0,), (1,)], here=True)
    submissions.write(line.paths, replace(made, job_id=f"local-{gone}1", pids=(f"{gone}1", f"{gone}2")))
    folder = line.paths.logs("scan")
    folder.mkdir(parents=True)
    (folder / f"{gone}1_0_log.out").write_text(START.replace("n3", socket.gethostname()))
    (folder / f"{gone}2_0_log.out").write_text(START)
    seen = _look(line)
    assert (seen["causes"], seen["pending"]) == ({"unknown": 1}, 1)


def test_a_process_that_was_interrupted_while_it_started_did_not_fail(prepared: Callable[..., Plan]) -> None:
    line = prepared("stage=[scan]", "launch=local", units=3)
    gone = str(2**22 + os.getpid())
    made = submissions.prepare(line, "scan", [(0,), (1,), (2,)], here=True)
    pids = tuple(f"{gone}{number}" for number in range(3))
    submissions.write(line.paths, replace(made, job_id=f"local-{pids[0]}", pids=pids, word="interrupted"))
    folder = line.paths.logs("scan")
    folder.mkdir(parents=True)
    begun = START.replace("n3", socket.gethostname())
    importing = 'Traceback (most recent call last):\n  File "textwrap.py", line 435, in dedent\nKeyboardInterrupt\n'
    for pid, text in zip(pids, (importing, begun, IMPORT), strict=True):
        (folder / f"{pid}_0_log.out").write_text(text)
    seen = _look(line)
    assert seen["causes"] == {"interrupted": 2}
    assert seen["reasons"] == {"ModuleNotFoundError: No module named 'av'": [2]}


def _look(line: Plan) -> dict[str, Any]:
    from dataclasses import asdict

    from hpc_curate.monitoring import overview

    return asdict(overview.look(line).stages[0])
