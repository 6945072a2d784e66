"""Changing one's mind is cheap: another threshold, rule, selection or measure computes only what is new."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hpc_curate import cli, config, launch
from hpc_curate import plan as plans
from hpc_curate import run as runs
from hpc_curate.element.worker import Allocation, Element
from hpc_curate.plan import Plan
from hpc_curate.run_folder import accounting, books
from hpc_curate.run_folder.state import kept_hash

pytestmark = pytest.mark.timeout(600)

LINE = "stage=[scan,shots,gate,embed,dedup,select]"
SHORT_SIDES = {"lenient": 240, "default": 360, "strict": 480}
STARTS_S = (60, 110, 240)  # in the film; the last is calm and not bright, as the strict selection wants it


@pytest.fixture(scope="session")
def videos(footage: Path, ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces of a film, one large enough for each of the selections."""
    folder = tmp_path_factory.mktemp("videos")
    for start, height in zip(STARTS_S, SHORT_SIDES.values(), strict=True):
        command = [ffmpeg, "-v", "error", "-ss", str(start), "-i", footage / "bbb.mp4", "-t", "9", "-an"]
        scale = ["-vf", f"scale=-2:{height}", "-c:v", "libx264", "-preset", "ultrafast", folder / f"{height}.mp4"]
        subprocess.run([*command, *scale], check=True)
    return folder


@pytest.fixture(scope="session")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    launch.run(plan(videos, run, LINE))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to change one's mind about."""
    return shutil.copytree(finished, tmp_path / "run")


def plan(videos: Path, run: Path, *overrides: str) -> Plan:
    """What the command `run` does before it launches."""
    config.register()
    composed = runs.compose([f"input={videos}", f"run_dir={run}", "launch=inline", *overrides])
    return runs.prepare(config.resolve(composed))


def written(run: Path, *stages: str) -> dict[Path, int]:
    """Every table and ledger record of these stages, and when it was written."""
    files = [path for stage in stages for path in run.glob(f"{stage}/**/*") if path.is_file()]
    assert files
    return {path: path.stat().st_mtime_ns for path in files}


def kept(made: Plan) -> set[str]:
    clips = accounting.clip_rows(books.read(made)).to_pylist()
    return {clip["clip_id"] for clip in clips if clip["state"] == "kept"}


def test_a_sweep_of_selections_stands_side_by_side_and_scores_nothing(videos: Path, run: Path) -> None:
    before = written(run, "scan", "shots", "gate", "embed", "dedup")
    sweep = ["run", "-m", f"input={videos}", f"run_dir={run}", "launch=inline", LINE]
    command = [sys.executable, "-m", "hpc_curate", *sweep, f"select={','.join(SHORT_SIDES)}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert written(run, "scan", "shots", "gate", "embed", "dedup") == before
    assert len(list(run.glob("select/*/00000.parquet"))) == 3
    made = [plans.load_latest(run, file.stem) for file in run.glob("plans/*.yaml")]
    # The others are of the run that it is a copy of.
    mine = [one for one in made if one.settings["run_dir"] == str(run)]
    found = {one.settings["stage"]["select"]["rules"]["crop_short_side_px"]["min"]: one for one in mine}
    lenient, default, strict = (kept(found[side]) for side in SHORT_SIDES.values())
    assert lenient > default > strict > set()
    assert all(f"select={name}" in done.stdout for name in SHORT_SIDES)
    (page,) = run.glob("report/sweep-*/index.html")
    assert f"side by side, with pictures: {page}" in done.stdout
    text = page.read_text()
    assert all(f" kept by select={name}" in text for name in SHORT_SIDES)
    assert "Kept by select=lenient, not by select=default" in text
    assert text.count("<img") > 10
    first, *others = [found[side].hash for side in SHORT_SIDES.values()]
    for verb in (["status"], ["funnel", "--beside", *others]):
        said = subprocess.run(
            [*command[:3], verb[0], str(run), "--plan", first, *verb[1:]], capture_output=True, text=True
        )
        assert all(f"select={name}" in said.stdout for name in ("default", "strict")), said.stdout


def test_the_funnel_counts_what_each_rule_removes_and_several_plans_stand_side_by_side(
    videos: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = plan(videos, run, LINE, "select=strict")
    launch.run(strict)
    default = plan(videos, run, LINE)
    assert cli.main(["funnel", str(run), "--plan", strict.hash, "--json"]) == 0
    (counted,) = json.loads(capsys.readouterr().out)
    first = {row["reason"]: row["clips"] for row in counted["funnel"] if row["step"] == "rejected by select"}
    assert {row["reason"]: row["first"] for row in counted["rules"] if row["first"]} == {
        reason: clips for reason, clips in first.items() if reason
    }
    assert all(row["alone"] <= row["first"] <= row["clips"] <= row["judged"] for row in counted["rules"])
    assert cli.main(["funnel", str(run), "--plan", strict.hash]) == 0
    first_line, *_, table = capsys.readouterr().out.strip().split("\n\n")
    told, _, how = first_line.removeprefix(f"plan {strict.hash}: ").partition("; ")
    assert told.startswith("stage.select.rules.") and "--plan HASH" in how and "--beside HASH" in how
    assert f"(shown) {told}\n" in table and default.hash in table
    page = run / "both.html"
    assert cli.main(["funnel", str(run), "--beside", strict.hash[:6], "-o", str(page)]) == 0
    said = capsys.readouterr().out
    assert f"{default.hash}" in said and f"{strict.hash}" in said
    assert "select: crop_short_side_px below" in said
    assert page.read_text().count("<article") > 5


def test_a_looser_gate_scores_only_the_clips_that_were_never_scored(videos: Path, tmp_path: Path) -> None:
    tight = plan(videos, tmp_path / "run", LINE, "stage.gate.rules.crop_short_side_px.min=400")
    launch.run(tight)
    (first,) = tight.paths.root.glob("embed/*/00000.parquet")
    before, few = first.stat().st_mtime_ns, set(pq.read_table(first)["clip_id"].to_pylist())

    loose = plan(videos, tmp_path / "run", LINE)
    assert Element(loose, "gate", Allocation()).run([0]) == 0
    element = Element(loose, "embed", Allocation())
    seen = 0

    def counting(frames: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += len(frames)
        return np.ones((len(frames), 1280), np.float32)

    element._model.append(counting)
    assert element.run([0]) == 0
    more = set(pq.read_table(first.with_name("00000.2.parquet"))["clip_id"].to_pylist())
    passed = next(path for path in loose.paths.root.glob("gate/*/00000.parquet") if len(_passed(path)) > len(few))
    assert first.stat().st_mtime_ns == before
    assert more and not more & few
    assert few | more == _passed(passed)
    assert seen == len(more) * element.stage.frames_per_clip  # type: ignore[attr-defined]
    record = element.ledger.record("embed", first.parent.name, 0)
    assert record is not None and kept_hash(sorted(few | more)) in record.asked


def _passed(gate: Path) -> set[str]:
    return {row["clip_id"] for row in pq.read_table(gate).to_pylist() if row["gate_keep"]}


@pytest.mark.parametrize(
    "override",
    [
        "cutter.adaptive.threshold=2",
        "cutter.adaptive.min_shot_s=1",
        "stage.shots.min_duration_s=3",
        "stage.shots.max_duration_s=3",
        "stage.shots.trim_start_s=0.5",
        "measure.freeze.min_still_s=1",
    ],
)
def test_another_threshold_or_length_rule_decodes_nothing(videos: Path, run: Path, override: str) -> None:
    before = written(run, "scan")
    launch.run(plan(videos, run, "stage=[scan,shots]", override))
    assert written(run, "scan") == before
    assert len(list(run.glob("shots/*/00000.parquet"))) == 2


def test_a_measure_that_is_added_later_runs_alone(videos: Path, tmp_path: Path) -> None:
    few, more = "measure=[motion]", "measure=[exposure,motion,sharpness]"
    launch.run(plan(videos, tmp_path / "run", "stage=[scan,shots]", few))
    before = written(tmp_path / "run", "scan")
    launch.run(plan(videos, tmp_path / "run", "stage=[scan,shots]", more))

    (folder,) = (tmp_path / "run").glob("scan/*")
    after = written(tmp_path / "run", "scan")
    assert {path for path in before if after[path] != before[path]} == {folder / "done" / "00000.json"}
    later = {path.name: pq.read_table(path) for path in after if path.name.startswith("00000.2.")}
    assert {name: table.num_rows for name, table in later.items() if "series" not in name and table.num_rows} == {}
    series = {(row["piece"], row["name"]) for row in later["00000.2.series.parquet"].to_pylist()}
    assert {piece for piece, name in series if name != "pts"} == {"exposure", "sharpness"}

    launch.run(plan(videos, tmp_path / "fresh", "stage=[scan,shots]", more))
    assert _shots_with_exposure(tmp_path / "run") == _shots_with_exposure(tmp_path / "fresh")


def _shots_with_exposure(run: Path) -> list[dict[str, Any]]:
    found = [pq.read_table(path) for path in run.glob("shots/*/00000.parquet")]
    (rows,) = [table.to_pylist() for table in found if "luma_mean" in table.column_names]
    return rows
