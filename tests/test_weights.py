"""A run can be looked at where the weights of its plan are not; where they are, they count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import curate

from hpc_curate import cli
from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.weights import Noted

FITTED = {
    "format": "hpc_curate utility 1",
    "kind": "logistic",
    "intercept": 0.0,
    "features": [
        {"column": "luma_mean", "made_by": "measure exposure 1", "mean": 100, "deviation": 10, "weight": 1}
        | {"weight_missing": 0, "missing": 0}
    ],
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "utility.json"
    path.write_text(json.dumps(FITTED))
    return path


def test_a_copy_of_a_run_without_its_weights_can_be_looked_at(make_video: Any, weights: Path, tmp_path: Path) -> None:
    video = make_video("videos/one.mp4", "testsrc=s=320x180:r=10:d=8")
    run, copy = tmp_path / "run", tmp_path / "copy"
    stages = ["stage=[scan,shots,utility]", "measure=[exposure]", f"stage.utility.model_path={weights}"]
    curate("run", f"input={video.parent}", f"run_dir={run}", "launch=inline", *stages, "cutter=stride")
    before = [curate(verb, run) for verb in ("status", "funnel")]
    run.rename(copy)
    weights.unlink()
    after = [curate(verb, copy) for verb in ("status", "funnel")]
    assert [text.replace(str(copy), str(run)) for text in after] == before
    assert json.loads(curate("status", copy, "--json"))["state"] == "done"
    curate("table", copy, "-o", tmp_path / "clips.parquet")
    assert "utility" in curate("logs", copy, "--of", "one.mp4")
    curate("retry", copy, "--dry-run")


def test_weights_that_are_there_count_and_not_what_was_noted_of_them(prepared: Any, weights: Path) -> None:
    line = prepared("stage=[scan,shots,utility]", "measure=[exposure]", f"stage.utility.model_path={weights}", units=1)
    first = State(plans.load(line.file), Ledger(line.paths)).signature("utility")
    assert first == line.static_signature("utility")
    weights.write_text(json.dumps({**FITTED, "intercept": 1.0}))
    assert plans.load(line.file).static_signature("utility") != first
    weights.unlink()
    assert plans.load(line.file).static_signature("utility") == first


def test_what_was_never_noted_is_missed_by_name(
    prepared: Any, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = prepared("stage=[scan,shots,utility]", "measure=[exposure]", f"stage.utility.model_path={weights}", units=1)
    line.paths.weights(line.hash).unlink()
    weights.unlink()
    assert cli.main(["status", str(line.paths.root)]) == 2
    assert "utility.json" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="scan: weights"):
        Noted().of_weights(Gone())


class Gone:
    name = "scan"

    def weights(self) -> list[Path]:
        return [Path("/nowhere/model.onnx")]
