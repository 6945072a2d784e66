"""What is tried again, by what ended it: with more memory, with more time, elsewhere, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli, config, launch, plan, run
from hpc_curate.io import tables
from hpc_curate.plan import Plan
from hpc_curate.records import video_id
from hpc_curate.run_folder import books, claims, submissions
from hpc_curate.run_folder.ledger import Attempt, Ledger
from hpc_curate.run_folder.state import State

Prepare = Callable[..., Plan]
SAID = {
    3: "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=100.0.\n",
    4: "slurmstepd: error: *** JOB 100 ON n1 CANCELLED AT 2026-11-23T04:20:10 DUE TO TIME LIMIT ***\n",
    5: "slurmstepd: error: *** JOB 100 ON n1 CANCELLED AT 2026-11-23T04:20:10 DUE TO NODE FAILURE ***\n",
}


@pytest.fixture
def line(scheduler: Path, prepared: Prepare) -> Plan:
    """Nine units of which nothing is queued any more: failed, on a bad node, killed for memory, for time, and so on."""
    line = prepared("stage=[scan]", units=9)
    launch.run(line)
    (scheduler / "queue").write_text("")
    (submission,) = submissions.every(line.paths)
    assert [units for units in submission.elements] == [(unit,) for unit in range(9)]
    line.paths.logs("scan").mkdir(parents=True, exist_ok=True)
    for unit, text in SAID.items():
        (line.paths.logs("scan") / f"100_{unit}_0_log.out").write_text(text)
    ends: dict[int, tuple[str, str] | None] = {unit: None for unit in (3, 4, 5, 6)}
    ends |= {1: ("failed", "ValueError: no luck"), 2: ("environment", "/scratch: No space left on device")}
    for unit, end in ends.items():
        _begin(line, unit, end)
    return line


def _begin(line: Plan, unit: int, end: tuple[str, str] | None) -> None:
    work = claims.Work("scan", line.static_signature("scan"), unit)
    claim = claims.take(line.paths, work, claims.Holder(f"100_{unit}", host="n7"), lease_s=60)
    attempt = Ledger(line.paths).begin(claim)
    if end:
        Ledger(line.paths).end(claim, attempt, end)
    claim.release()


def queued(line: Plan) -> set[int]:
    """The units of the last submission."""
    last = submissions.every(line.paths)[-1]
    return last.units(range(len(last.elements)))


def retry(line: Plan, *more: str) -> int:
    return cli.main(["retry", str(line.paths.root), *more])


def test_by_default_what_failed_and_what_chance_has_ended_is_tried_again(
    line: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retry(line) == 0
    said = capsys.readouterr().out
    assert queued(line) == {0, 1, 2, 5, 6, 7, 8}  # with those that were never begun
    assert "failed       scan: 1 unit (1), ValueError: no luck" in said
    assert "transient    scan: 1 unit (5), its node failed" in said
    assert "left alone   scan: 1 unit (3), oom: killed for memory" in said
    assert plan.load_latest(line.paths.root).hash == line.hash


def test_what_somebody_cancelled_comes_back_unless_it_is_left_out(
    line: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    log = line.paths.logs("scan") / "100_6_0_log.out"
    log.write_text("slurmstepd: error: *** JOB 100 ON n1 CANCELLED AT 2026-11-23T04:19:48 ***\n")
    assert retry(line, "--dry-run") == 0
    assert "cancelled    scan: 1 unit (6), somebody cancelled it" in capsys.readouterr().out
    assert retry(line, "--class", "transient") == 0
    assert 6 not in queued(line)


def test_a_node_that_was_at_fault_is_not_used_again(line: Plan, scheduler: Path) -> None:
    assert retry(line, "--class", "transient") == 0
    assert queued(line) == {0, 2, 5, 6, 7, 8}
    script = max(scheduler.glob("*.sh"), key=lambda path: int(path.stem)).read_text()
    assert "#SBATCH --exclude=n7" in script


def test_what_every_node_would_meet_takes_none_out(
    line: Plan, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _begin(line, 2, ("environment", "claims/00002: Permission denied: claims; have its owner open it, then retry"))
    assert retry(line, "--class", "transient") == 0
    assert "not on" not in capsys.readouterr().out and 2 in queued(line)


def test_out_of_memory_gets_more_of_it_in_a_new_plan(line: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    had = line.steps["scan"].resources.memory_gb
    assert retry(line, "--class", "oom", "--factor", "3") == 0
    new = plan.load_latest(line.paths.root)
    assert new.steps["scan"].resources.memory_gb == 3 * had
    assert f"resources.scan.memory_gb: {had:g} -> {3 * had:g}" in capsys.readouterr().out
    assert queued(line) == {0, 3, 7, 8}
    assert Ledger(line.paths).attempt("scan", line.static_signature("scan"), 3) == Attempt()


@pytest.mark.parametrize("factor", ["0", "-2", "0.5", "nan", "inf"])
def test_nothing_is_given_less_than_it_ran_out_of(line: Plan, factor: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert retry(line, "--class", "oom", "--factor", factor) == 2
    assert "must be 1 or more" in capsys.readouterr().err


def test_out_of_time_gets_more_of_it(line: Plan) -> None:
    had = line.steps["scan"].resources.minutes
    assert retry(line, "--class", "timeout") == 0
    assert plan.load_latest(line.paths.root).steps["scan"].resources.minutes == 2 * had
    assert queued(line) == {0, 4, 7, 8}


def test_accounting_is_asked_where_the_log_says_nothing(line: Plan, scheduler: Path) -> None:
    (scheduler / "accounting").write_text("100_6|hpc|OUT_OF_MEMORY\n")
    assert retry(line, "--class", "oom") == 0
    assert queued(line) == {0, 3, 6, 7, 8}
    assert (scheduler / "calls").read_text().split().count("sacct") == 1


def test_a_dry_run_only_says_it(line: Plan, scheduler: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in line.paths.root.rglob("*") if path.is_file()}
    assert retry(line, "--class", "all", "--dry-run") == 0
    assert "oom          scan: 1 unit (3)" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in line.paths.root.rglob("*") if path.is_file()} == before
    assert len(submissions.every(line.paths)) == 1


def test_while_slurm_is_silent_nothing_is_retried(
    line: Plan, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scheduler / "silent").touch()
    assert retry(line) == 1
    assert "nothing is retried on a guess" in capsys.readouterr().err
    assert len(submissions.every(line.paths)) == 1


def test_a_stage_that_the_plan_has_not_is_a_mistake(line: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert retry(line, "scam") == 2
    assert "'scan'" in capsys.readouterr().err


# -- rows that were given up -------------------------------------------------------------------------------------------


@pytest.fixture
def given_up(make_video: Callable[..., Path], tmp_path: Path) -> Plan:
    """Three videos, each in a unit of its own: one is good, one is damaged, one took its worker down three times."""
    videos = [make_video(f"videos/{name}.mp4") for name in ("good", "poison")]
    (tmp_path / "videos" / "damaged.mp4").write_bytes(videos[0].read_bytes()[:500])
    config.register()
    chosen = ["stage=[scan,shots]", "measure=[exposure]", "cutter=stride", "unit.videos=1", "launch=inline"]
    given = [f"input={tmp_path / 'videos'}", f"run_dir={tmp_path / 'run'}", *chosen]
    line = run.prepare(config.resolve(run.compose(given)))
    signature = line.static_signature("scan")
    for unit in range(3):
        attempt = Attempt(token="x", strikes={video_id(str(videos[1])): 3}, failure="preempted")
        tables.write_json(line.paths.attempts("scan", signature, unit), asdict(attempt))
    launch.run(line)
    return line


def videos_of(line: Plan) -> dict[str, str | None]:
    return {row["name"] or "?": row["error"] for row in books.read(line).videos.to_pylist()}


def test_what_was_quarantined_is_done_again_as_a_whole_and_damaged_data_is_not(
    given_up: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, signature = Ledger(given_up.paths), given_up.static_signature("scan")
    before = ledger.records("scan", signature)
    errors = {unit: record.errors for unit, record in before.items()}
    assert sorted(errors.values()) == [0, 1, 1]
    assert retry(given_up) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert retry(given_up, "--class", "quarantined") == 0
    said = capsys.readouterr().out
    assert "1 video given up" in said
    listed = f"hpc-curate table {given_up.paths.root} --videos -o videos.csv says which"
    assert f"left alone   1 video with an error that is a result: {listed}" in said
    assert cli.main(["logs", str(given_up.paths.root)]) == 0
    assert f"no unit failed\n1 video with an error: {listed}" in capsys.readouterr().err
    after = ledger.records("scan", signature)
    again = [unit for unit in before if after[unit] != before[unit]]
    assert len(again) == 1 and after[again[0]].errors == 0
    assert sorted(error is None for error in videos_of(given_up).values()) == [False, True, True]
    state = State(given_up, ledger)
    assert state.missing("shots") == [] and books.read(given_up).clips.num_rows == 2


def test_nothing_is_taken_away_that_somebody_may_be_reading(
    given_up: Plan, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = plan.build({**given_up.settings, "launch": {**_slurm(), "kind": "slurm"}}, given_up.units)
    submission = submissions.prepare(other, "scan", [(0,)], job_id="100")
    (scheduler / "queue").write_text(f"100|0|RUNNING|{submission.name}\n")
    assert retry(given_up, "--class", "quarantined") == 2
    assert "wait for it, or cancel it" in capsys.readouterr().err


def _slurm() -> dict[str, Any]:
    return json.loads(json.dumps(config.resolve(run.compose(["input=x", "run_dir=x", "launch=slurm"]))["launch"]))
