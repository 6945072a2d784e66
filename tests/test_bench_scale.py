"""The benchmark of scale at a small scale: a synthetic run is a run like any other, and stays below its files."""

from __future__ import annotations

import os
from pathlib import Path

import bench_scale
import pytest
import synthetic_run

UNITS = 70  # enough for records to be folded
MOST_FILES = 12  # per unit


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step sets to name the fake scheduler."""
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("FAKE_SLURM", "")


def test_every_step_of_the_benchmark_finds_what_the_one_before_has_left(tmp_path: Path) -> None:
    synthetic_run.input_table(tmp_path / "videos.parquet", UNITS * synthetic_run.VIDEOS_PER_UNIT)
    said = {name: step(tmp_path) for name, (_, step) in bench_scale.COURSE.items()}
    assert said["plan"] == f"{UNITS} units"
    assert said["status"] == f"{4 * UNITS} units done"
    assert said["missing"].startswith(f"{1 + 1 + UNITS + 1 + 64} ")
    assert "10 units, " in said["element"]
    assert said["finished"] == f"{5 * UNITS + 3 + 64} units done"
    assert said["funnel"].startswith(f"{UNITS * synthetic_run.VIDEOS_PER_UNIT * synthetic_run.CLIPS_PER_VIDEO} clips")
    per_unit = [len(list(tmp_path.glob(f"run/*/*/{unit:05d}*"))) for unit in range(64, UNITS)]
    folded = len(list(tmp_path.glob("run/*/*/done/*.json")))
    assert max(per_unit) <= MOST_FILES and folded <= 3 + 64


def test_named_steps_are_measured_once_more_in_a_folder_that_was_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bench_scale.course(tmp_path, 2, bench_scale.chosen("dedup,scored,plan,select"))
    bench_scale.course(tmp_path, 2, bench_scale.chosen("select,status"))
    steps = [line.split("  ")[0] for line in capfd.readouterr().out.splitlines() if "  " in line[1:]]
    assert [step for step in steps if step] == [
        "plan",
        "(scan, shots, gate, embed)",
        "(dedup)",
        "select, the whole merge",
        "status",
        "select, the whole merge",
    ]
