"""What status says: counts, causes, what is at work, how long, which command goes on; and that it only looks."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli, launch
from hpc_curate.errors import SchedulerError
from hpc_curate.monitoring import overview, watch
from hpc_curate.monitoring.overview import Status
from hpc_curate.plan import Plan
from hpc_curate.report import progress
from hpc_curate.run_folder import claims, submissions
from hpc_curate.run_folder.ledger import Ledger, Record
from hpc_curate.run_folder.state import State

Prepare = Callable[..., Plan]


def status(line: Plan, *more: str) -> dict[str, Any]:
    return json.loads(said(line, "--json", *more))


def said(line: Plan, *more: str) -> str:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        assert cli.main(["status", str(line.paths.root), *more]) == 0
    return out.getvalue()


def begin(line: Plan, unit: int, job: str, end: tuple[str, str] | None = None, stage: str = "scan") -> None:
    """An attempt at a unit; without an end its worker is at it, or died without a word, if it is of another boot."""
    work = claims.Work(stage, line.static_signature(stage), unit)
    ledger = Ledger(line.paths)
    claim = claims.take(line.paths, work, claims.Holder(job), lease_s=60)
    attempt = ledger.begin(claim)
    ledger.working_on(claim, replace(attempt, items_done=3, items=12), "an item")
    if end:
        ledger.end(claim, attempt, end)
        claim.release()


def lapse(line: Plan, unit: int) -> None:
    """Nobody renews the claim any more."""
    folder = line.paths.claims("scan", line.static_signature("scan"), unit)
    for path in folder.glob("*.claim"):
        os.utime(path, (1000, 1000))


def finish(line: Plan, unit: int, seconds: float, ended_s_ago: float = 0.0) -> None:
    work = claims.Work("scan", line.static_signature("scan"), unit)
    claim = claims.take(line.paths, work, claims.Holder("100_0"), lease_s=60)
    asked = State(line, Ledger(line.paths)).asked("scan", unit)
    assert asked
    times = {"seconds": seconds, "finished": time.time() - ended_s_ago}
    record = Record("scan", work.signature, unit, (asked,), (), rows=1, duration_s=360.0, host="n1", job="100_0")
    Ledger(line.paths).mark(replace(record, **times), claim)
    claim.remove()


def queue(scheduler: Path, states: dict[int, str]) -> None:
    """What Slurm still shows of the first array."""
    lines = (scheduler / "queue").read_text().splitlines()
    name = lines[0].rpartition("|")[2]
    (scheduler / "queue").write_text("".join(f"100|{index}|{state}|{name}\n" for index, state in states.items()))


def test_every_unit_is_counted_once_by_what_becomes_of_it(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan]", units=9)
    launch.run(line)
    (submission,) = submissions.every(line.paths)
    queue(scheduler, {0: "PENDING", 1: "RUNNING", 2: "PENDING"})
    unit = dict(enumerate(units[0] for units in submission.elements))
    begin(line, unit[1], "100_1")
    begin(line, unit[2], "100_2", ("preempted", "stopped by SIGTERM"))
    begin(line, unit[3], "100_3", ("failed", "Traceback\nValueError: no luck"))
    begin(line, unit[4], "100_4", ("environment", "no space left"))
    begin(line, unit[5], "100_5")
    lapse(line, unit[5])
    line.paths.logs("scan").mkdir(parents=True, exist_ok=True)
    log = line.paths.logs("scan") / "100_5_0_log.out"
    log.write_text("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=100.0.\n")
    finish(line, unit[6], seconds=4)
    begin(line, unit[7], "77_0")  # by somebody else, whom Slurm does not know here
    Ledger(line.paths).block("scan", line.static_signature("scan"), unit[8], "shots is missing")
    seen = status(line)
    (scan,) = seen["stages"]
    counts = {kind: scan[kind] for kind in ("done", "running", "queued", "failed", "blocked", "stopped", "pending")}
    assert counts == dict(done=1, running=2, queued=2, failed=1, blocked=1, stopped=2, pending=0)
    assert scan["causes"] == {"environment": 1, "oom": 1}
    assert scan["reasons"] == {"ValueError: no luck": [unit[3]], "no space left": [unit[4]]}
    assert {(task["items_done"], task["items"]) for task in scan["at_work"]} == {(3, 12)}
    assert scan["attempts"] == 1
    text = said(line)
    assert "3 / 12" in text and "100_1" in text and "1 oom" in text and "ValueError: no luck" in text
    assert max(len(row.replace(str(line.paths.root), "RUN")) for row in text.splitlines()) <= 120


def test_pace_and_cost_come_from_what_is_done(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan]", "resources.scan.cpus=4", "+resources.scan.gpus=1", units=12)
    for unit in range(4):
        finish(line, unit, seconds=60, ended_s_ago=1000 - 60 * unit)
    (scan,) = status(line)["stages"]
    assert scan["video_hours_per_hour"] == pytest.approx(6.0)
    assert scan["left_s"] == pytest.approx(8 * 60)
    assert scan["cpu_hours"] == pytest.approx(4 * 4 / 60, rel=1e-3) and scan["gpu_hours"] == pytest.approx(
        4 / 60, rel=1e-3
    )
    assert (scan["usual_s"], scan["slowest"][0]["seconds"]) == (60, 60)
    assert "16 min" in said(line)  # of four CPUs
    begin(line, 4, "100_4")
    found = re.search(r"about ([\d.]+) min left\n", said(line))
    assert found and 7.2 < float(found[1]) < 8  # a quarter of it is done; more by what it has taken so far


def test_a_time_without_what_has_not_begun_is_no_time_of_the_whole(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan,shots]", units=4)
    launch.run(line)
    finish(line, 0, seconds=60)
    word = "about 3.0 min left for the stages begun, not known yet of shots"
    assert word in said(line) and word in progress.line(overview.look(line))
    seen = status(line)
    assert (seen["left_s"], seen["unknown"]) == (pytest.approx(180), ["shots"])


def test_one_line_says_how_far_a_stage_is(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan]", units=4)
    finish(line, 0, seconds=60)
    begin(line, 1, "100_1")
    (scan,) = overview.look(line).stages
    assert progress.at_work(scan) == "scan     1 of 4 units done; at work: unit 1 (3 of 12)"


def test_what_nobody_has_started_is_not_blocked(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan,shots]", units=3)
    assert status(line)["state"] == "not started"
    text = said(line)
    assert "hpc-curate run" in text and "goes on" not in text and "propose" not in text
    line.paths.pilot.root.mkdir()
    line.paths.pilot.latest.write_text("a plan\n")
    assert f"hpc-curate propose {line.paths.root}" in said(line)
    finish(line, 0, seconds=1)
    assert status(line)["state"] == "unfinished" and f"hpc-curate retry {line.paths.root} goes on" in said(line)


def test_a_run_that_was_interrupted_says_which_command_goes_on(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan]", "launch=local", units=3)
    begin(line, 0, "local-1")
    assert status(line)["state"] == "running"
    lapse(line, 0)
    assert status(line)["state"] == "blocked"
    text = said(line)
    assert "nothing runs or is queued" in text and f"hpc-curate retry {line.paths.root}" in text


def test_a_worker_that_was_killed_because_it_did_not_heed_an_interrupt_was_interrupted(
    scheduler: Path, prepared: Prepare
) -> None:
    line = prepared("stage=[scan]", "launch=local", units=3)
    submission = submissions.prepare(line, "scan", [[0, 1, 2]], pids=("1",), job_id="local-1", here=True)
    begin(line, 0, "local-1")
    lapse(line, 0)
    assert status(line)["state"] == "blocked"
    submissions.write(line.paths, replace(submission, word="interrupted"))
    seen = status(line)
    assert (seen["state"], seen["stages"][0]["causes"]) == ("interrupted", {"interrupted": 1})


def test_while_slurm_is_down_what_was_queued_may_be_there_still(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan]", units=3)
    launch.run(line)
    (scheduler / "silent").touch()
    assert status(line)["state"] == "running"
    assert "what is queued is not known" in said(line) and "nothing runs" not in said(line)


def test_it_only_looks(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan,shots]")
    launch.run(line)
    finish(line, 1, seconds=1)
    before = {path: path.stat().st_mtime_ns for path in line.paths.root.rglob("*")}
    said(line)
    assert {path: path.stat().st_mtime_ns for path in line.paths.root.rglob("*")} == before


def test_a_copy_tells_the_same_and_is_left_alone_by_what_acts(
    scheduler: Path, prepared: Prepare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = prepared("stage=[scan]")
    launch.run(line)
    finish(line, 1, seconds=1)
    original = status(line)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(line.paths.root, copy)
    line.paths.root.rename(tmp_path / "aside")  # so that nothing can be read there
    assert cli.main(["status", str(copy), "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert {**seen, "run": ""} == {**original, "run": ""}
    (tmp_path / "aside").rename(line.paths.root)
    for verb in ("cancel", "retry"):
        assert cli.main([verb, str(copy)]) == 2
        assert "is a copy of" in capsys.readouterr().err
    assert not (scheduler / "cancelled").exists()


def test_the_plans_of_a_folder_are_told_apart_and_named_by_their_first_digits(
    scheduler: Path, prepared: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepared("stage=[scan,shots]")
    second = prepared("stage=[scan,shots]", "cutter.adaptive.threshold=5")
    finish(first, 1, seconds=1)
    text = said(second, "--plan", first.hash[:5])
    assert first.hash in text.splitlines()[0]
    assert second.hash in text and "cutter.adaptive.threshold=5" in text
    seen = status(second)["plans"]
    assert [one["plan"] for one in seen] == [first.hash, second.hash]
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith((first.hash, second.hash))}
    assert rows[first.hash].endswith("(shown) cutter.adaptive.threshold=3.0")  # how it differs from the others
    assert rows[second.hash].endswith("  cutter.adaptive.threshold=5.0")
    assert cli.main(["status", str(first.paths.root), "--plan", ""]) == 0
    assert cli.main(["status", str(first.paths.root), "--plan", "zz"]) == 2
    assert "has no plan 'zz'" in capsys.readouterr().err


def test_what_plans_share_is_read_once(scheduler: Path, prepared: Prepare) -> None:
    first, second = prepared("stage=[scan]"), prepared("stage=[scan]", "limits.attempts=5")
    finish(first, 1, seconds=1)
    ledger = overview.LedgerOnce(first.paths)
    signature = first.static_signature("scan")
    read = ledger.records("scan", signature)
    finish(second, 2, seconds=1)  # later than that look
    assert list(ledger.records("scan", signature)) == [1] and ledger.records("scan", signature) is read
    states = {one.plan: one.state for one in overview.others(second, overview.standing.queue(second), None, ledger)}
    assert states == {first.hash: "unfinished", second.hash: "unfinished"}
    assert [stage.done for stage in overview.look(second).stages] == [2]


def test_what_a_relay_could_not_do_is_said_until_more_is_queued(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan]")
    relay = submissions.prepare(line, submissions.RELAY, [()], job_id="5")
    submissions.write(line.paths, replace(relay, word="sbatch does not work on n1; repeat: hpc-curate retry"))
    assert "sbatch does not work on n1" in said(line)
    launch.run(line)
    assert "sbatch does not work on n1" not in said(line)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.3, "0.3 s"),
        (42, "42 s"),
        (90, "1.5 min"),
        (3000, "50 min"),
        (7200, "2.0 h"),
        (3 * 86400, "3.0 d"),
        (None, "?"),
    ],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert progress.lasting(seconds) == text


def test_a_large_run_fits_a_terminal() -> None:
    counts = {"stage": "aesthetic", "units": 100_000, "done": 98_765, "running": 256, "queued": 900, "failed": 79}
    rest = {"blocked": 0, "stopped": 0, "pending": 0, "rows": 10_000_000, "errors": 12_345, "hours": 1000.0}
    cost = {"cpu_hours": 54_321.0, "gpu_hours": 12_345.0, "units_per_s": 0.5, "clips_per_s": 1234.5, "left_s": 4000.0}
    more = {"video_hours_per_hour": 9876.0, "attempts": 3, "takeovers": 1, "causes": {}, "at_work": [], "slowest": []}
    stage = overview.StageStatus(**counts, **rest, **cost, **more, usual_s=60.0)
    text = progress.text(Status("run", "plan", "running", "answered", [stage], left_s=4000.0))
    assert max(map(len, text.splitlines())) <= 120
    assert "98,765/100,000" in text and "54,321 h" in text and "3 attempts failed or died; 1 unit" in text


# -- --watch -----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def looks(*states: str) -> Callable[[], Status]:
    """One look after another; the last one stays."""
    every = [Status("run", "plan", state, "answered") for state in states]
    return lambda: every.pop(0) if len(every) > 1 else every[0]


def test_a_log_gets_a_line_for_each_change_and_watching_ends_with_the_run() -> None:
    log = io.StringIO()
    last = watch.watch(looks("running", "running", "running", "done"), log, sleep=lambda _: None)
    assert last.state == "done"
    assert [line.split()[1].rstrip(",") for line in log.getvalue().splitlines()] == ["running", "done"]


def test_one_look_between_two_stages_does_not_end_it() -> None:
    last = watch.watch(looks("running", "blocked", "running", "failed"), io.StringIO(), sleep=lambda _: None)
    assert last.state == "failed"


def test_a_terminal_is_drawn_over() -> None:
    screen = Terminal()
    watch.watch(looks("running", "done"), screen, sleep=lambda _: None)
    assert screen.getvalue().count("\x1b[H") == 2 and "\x1b[J" in screen.getvalue()


def test_slurm_is_asked_once_in_thirty_seconds_however_often_one_looks(scheduler: Path, prepared: Prepare) -> None:
    line = prepared("stage=[scan]")
    launch.run(line)
    (scheduler / "calls").unlink()
    now = [0.0]
    patience = watch.Patience(clock=lambda: now[-1])
    for at in (0.0, 5.0, 29.0):
        now.append(at)
        assert patience.live(submissions.every(line.paths))
    assert (scheduler / "calls").read_text().split() == ["squeue"]
    (scheduler / "silent").touch()
    for at in (31.0, 36.0):
        now.append(at)
        with pytest.raises(SchedulerError, match="Unable to contact"):
            patience.live(submissions.every(line.paths))
    assert (scheduler / "calls").read_text().split() == ["squeue"] * 2
