"""A dry run says what a run would do, changes nothing, and is right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli
from hpc_curate import plan as plans
from hpc_curate.run_folder import submissions

UNITS = 25

Tree = dict[str, bytes | None]


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """The overrides of a run over 25 units."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(UNITS):
        (folder / f"{number}.mp4").write_bytes(b"x" * 1000 * (number + 1))
    return [f"input={folder}", f"run_dir={tmp_path / 'run'}", "launch=slurm", "unit.videos=1"]


@pytest.fixture
def seen(given: list[str], capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a dry run with more overrides says, of one job."""

    def look(*more: str) -> Any:
        capsys.readouterr()
        assert cli.main(["run", "--dry-run", "--json", *given, *more]) == 0
        (one,) = json.loads(capsys.readouterr().out)
        return one

    return look


def tree(folder: Path) -> Tree:
    """Everything below a folder: files by content, folders as None."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def anonymous(script: str, stages: dict[str, str]) -> str:
    """A script without what differs from one submission to the next: the jobs' numbers and the ends of their names."""
    for job, stage in stages.items():
        script = re.sub(rf"(?<=[:]){job}(?=[:\n])", f"@{stage}", script)
    return re.sub(r"(hpc-\w+-\w+)-[0-9a-f]{8}", r"\1", script)


def calls(state: Path) -> list[str]:
    return (state / "calls").read_text().split() if (state / "calls").exists() else []


def test_it_shows_the_scripts_that_a_run_then_writes(scheduler: Path, given: list[str], seen: Any) -> None:
    more = ["launch.cpu_partition=short", "+launch.sbatch.account=abc", "resources.embed.gpus=1"]
    said = seen(*more)
    assert "sbatch" not in calls(scheduler)
    assert cli.main(["run", *given, *more]) == 0
    written = {path.stem: path.read_text() for path in sorted(scheduler.glob("*.sh"))}
    stages = {job: re.findall(r"--job-name=hpc-(\w+)-", script)[0] for job, script in written.items()}
    assert [array["stage"] for array in said["arrays"]] == list(stages.values())
    shown = [anonymous(array["script"], {}) for array in said["arrays"]]
    assert shown == [anonymous(script, stages) for script in written.values()]


def test_the_texts_for_sbatch_stand_there_once_with_what_differs(
    scheduler: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "--dry-run", *given]) == 0
    short = capsys.readouterr().out
    assert cli.main(["run", "--dry-run", "--whole", *given]) == 0
    whole = capsys.readouterr().out
    assert whole.count("#SBATCH --requeue\n") > 5 and short.count("#SBATCH --requeue\n") == 1
    assert short.count("\n") < whole.count("\n") / 3
    (alone,) = [row for row in short.partition("==> and what differs <==")[2].splitlines() if row.startswith("@shots")]
    assert "--dependency=afterany:@scan" in alone and "--mem=" in alone and "--requeue" not in alone
    assert "--job-name=hpc-STAGE-" in short and "/logs/STAGE/" in short


def test_nothing_is_written_and_no_command_that_changes_anything_is_called(
    scheduler: Path, given: list[str], seen: Any, tmp_path: Path
) -> None:
    seen()
    assert not (tmp_path / "run").exists()
    assert cli.main(["run", *given]) == 0
    (scheduler / "queue").write_text("")  # all are over, without having done anything
    (scheduler / "calls").unlink()
    before = tree(tmp_path / "run")
    assert sum(row["queued"] for row in seen()["rows"]) > 0
    assert sum(row["queued"] for row in seen("pilot=3")["rows"]) > 0
    assert tree(tmp_path / "run") == before
    assert set(calls(scheduler)) <= {"squeue", "scontrol", "sacctmgr", "sacct"}


def test_rows_and_arrays_are_those_of_the_launcher(
    scheduler: Path, given: list[str], seen: Any, tmp_path: Path
) -> None:
    (scheduler / "config").write_text("MaxArraySize = 4\n")
    more = ["stage=[scan,shots]", "+resources.shots.units_per_element=2"]
    said = seen(*more)
    assert cli.main(["run", *given, *more]) == 0
    plan = plans.load_latest(tmp_path / "run")
    assert said["plan"] == plan.hash
    rows = {row["stage"]: row for row in said["rows"]}
    for stage, row in rows.items():
        queued = [one for one in submissions.every(plan.paths) if one.stage == stage]
        assert (row["arrays"], row["elements"]) == (len(queued), sum(len(one.elements) for one in queued))
        assert row["queued"] == row["missing"] == UNITS
    assert (rows["scan"]["elements"], rows["shots"]["elements"]) == (25, 13)
    assert rows["shots"]["waits_for"] == ["scan"]


def test_what_is_queued_already_is_not_shown_again(scheduler: Path, given: list[str], seen: Any) -> None:
    assert cli.main(["run", *given, "stage=[scan,shots]"]) == 0
    said = seen("stage=[scan,shots]")
    assert [(row["missing"], row["queued"]) for row in said["rows"]] == [(UNITS, 0)] * 2


def test_what_does_not_fit_is_left_to_a_relay(
    scheduler: Path, given: list[str], seen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "launch.max_submit_jobs=10"
    said = seen(small)
    assert said["arrays"][-1]["stage"] == "relay"
    assert said["rows"][0]["queued"] == 9
    assert cli.main(["run", "--dry-run", *given, small]) == 0
    assert "a relay queues what does not fit now" in capsys.readouterr().out


def test_new_videos_and_those_that_are_frozen_are_seen(
    scheduler: Path, given: list[str], seen: Any, tmp_path: Path
) -> None:
    assert cli.main(["run", *given, "launch=none"]) == 0
    (tmp_path / "videos" / "new.mp4").write_bytes(b"x")
    said = seen()
    assert (said["videos"], said["units"]) == (26, 26)
    assert said["gb"] == pytest.approx(sum(range(1, 26)) * 1e-6 + 1e-6)
    pilot = seen("pilot=3")
    assert (pilot["videos"], pilot["units"], pilot["run"]) == (3, 3, str(tmp_path / "run" / "pilot"))


def test_a_sweep_shows_each_of_its_jobs(scheduler: Path, given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "-m", "--dry-run", *given, "select=strict,lenient"]) == 0
    out = capsys.readouterr().out
    assert out.count("a dry run, nothing is written or queued") == 2
    assert out.count("#SBATCH --job-name=hpc-STAGE-") == 2
    assert "guessed from another run" in out


def test_without_slurm_it_says_what_it_assumes(
    given: list[str], seen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    said = seen()
    assert "no Slurm here" in said["notes"][0]
    assert said["rows"][0]["elements"] == UNITS
    assert said["arrays"][0]["script"] is None


def test_a_slurm_that_does_not_answer_is_an_error(
    scheduler: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (scheduler / "silent").touch()
    assert cli.main(["run", "--dry-run", *given]) == 1
    assert "Unable to contact" in capsys.readouterr().err


def test_here_it_shows_no_arrays(given: list[str], seen: Any) -> None:
    said = seen("launch=inline")
    assert said["arrays"] == []
    assert said["rows"][0]["queued"] is None and said["rows"][0]["missing"] == UNITS
    assert said["files"] == 12 * UNITS
