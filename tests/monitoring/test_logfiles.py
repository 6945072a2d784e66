"""Whose log is it: of a unit, of what failed, of a video or a clip by any of its names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_curate import cli, launch, plan, units
from hpc_curate.errors import ConfigError
from hpc_curate.monitoring import logfiles
from hpc_curate.plan import Plan
from hpc_curate.records import Span, clip_id
from hpc_curate.run_folder import books, submissions
from hpc_curate.run_folder.ledger import Ledger


@pytest.fixture
def line(scheduler: Path, prepared: Callable[..., Plan]) -> Plan:
    """Two arrays of three units each, and a log of every element."""
    line = prepared("stage=[scan,shots]", units=3)
    launch.run(line)
    for submission in submissions.every(line.paths):
        line.paths.logs(submission.stage).mkdir(parents=True, exist_ok=True)
        for index, mine in enumerate(submission.elements):
            log = line.paths.logs(submission.stage) / f"{submission.job_id}_{index}_0_log.out"
            log.write_text(f"{submission.stage} of {mine}\n")
    return line


def texts(files: list[Path]) -> list[str]:
    return [path.read_text().strip() for path in files]


def test_a_video_is_found_by_id_uri_name_and_by_its_clips(line: Plan) -> None:
    (video,) = units.read(line.paths, 1)
    for name in (video.video_id, video.uri, video.name, clip_id(video.video_id, Span(0, 90))):
        words = list(logfiles.of_thing(line, name))
        assert [word.stage for word in words] == ["scan", "shots"]
        assert [texts(list(word.files)) for word in words] == [["scan of (1,)"], ["shots of (1,)"]]
        assert all(word.text == "unit 1: not begun" for word in words)


def test_of_a_video_that_failed_the_error_is_told_and_the_last_log_of_the_stage_where_that_was(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video("videos/good.mp4")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    run = tmp_path / "run"
    given = [f"input={tmp_path / 'videos'}", f"run_dir={run}", "launch=local", "cutter=stride"]
    command = [sys.executable, "-m", "hpc_curate", "run", *given, "stage=[scan,shots]", "measure=[exposure]"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (log,) = run.glob("logs/scan/*_log.out")
    log.write_text(f"KeyboardInterrupt\nStarting with JobEnvironment(job_id=1)\n{log.read_text()}")
    assert cli.main(["logs", str(run), "--of", "broken.mp4"]) == 0
    first, error, _, path, *text = capsys.readouterr().out.splitlines()
    assert first.startswith("scan") and "Invalid data" in error and path == f"==> {log} <=="
    assert any("2 rows, 1 errors" in row for row in text) and "KeyboardInterrupt" not in text and len(text) <= 20
    assert cli.main(["logs", str(run), "--of", "good.mp4"]) == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()] == ["scan", "shots"]


def test_a_clip_that_its_video_has_not_is_a_mistake(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video("videos/one.mp4")
    given = [f"input={tmp_path / 'videos'}", f"run_dir={tmp_path / 'run'}", "launch=inline", "cutter=stride"]
    assert cli.main(["run", *given, "stage=[scan,shots]", "measure=[exposure]"]) == 0
    (clip,) = books.read(plan.load_latest(tmp_path / "run")).clips["clip_id"].to_pylist()
    assert cli.main(["logs", str(tmp_path / "run"), "--of", clip]) == 0
    capsys.readouterr()
    assert cli.main(["logs", str(tmp_path / "run"), "--of", f"{clip}0"]) == 2
    said = capsys.readouterr().err
    assert "has 1 clip" in said and f"did you mean '{clip}'?" in said


def test_a_video_that_the_run_has_not_is_a_mistake(line: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no video or clip 'nobody.mp4'"):
        list(logfiles.of_thing(line, "nobody.mp4"))
    assert cli.main(["logs", str(line.paths.root), "--of", "nobody.mp4"]) == 2
    assert "hpc-curate table" in capsys.readouterr().err


def test_without_a_unit_the_logs_are_of_what_failed(
    line: Plan, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert logfiles.of_failures(line, None) == []
    Ledger(line.paths).block("shots", line.static_signature("shots"), 2, "scan: units 2 are missing")
    lines = (scheduler / "queue").read_text().splitlines()
    (scheduler / "queue").write_text("\n".join(row for row in lines if not row.startswith("101|2|")))
    (blocked,) = logfiles.of_failures(line, None)
    assert (blocked.kind, blocked.units, texts(list(blocked.files))) == ("blocked", (2,), ["shots of (2,)"])
    assert logfiles.of_failures(line, "scan") == []
    assert cli.main(["logs", str(line.paths.root), "shots", "--unit", "0"]) == 0
    assert "shots of (0,)" in capsys.readouterr().out
