"""recipe=full, which is everything that needs no download, as job arrays on real footage."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from command_line import curate
from waiting import eventually

pytestmark = pytest.mark.timeout(1800)

VIDEOS = ("bikes.mp4", "city.mpg", "demo.mp4", "face.mp4")
CLUSTER = ("launch=slurm", "launch.cpu_partition=cpu", "launch.gpu_partition=gpu", "launch.grace_s=5")
# One column at least of every measure and scorer of the recipe; not every clip has a value.
SCORES = (
    *("motion", "shake", "freeze_share", "sharpness", "border_share", "brisque", "blockiness", "watermark_area"),
    *("nsfw_max", "faces", "aesthetic_proxy", "text_area", "clean_share", "utility", "cluster", "sampling_weight"),
)


def test_every_scorer_that_needs_no_download_scores_real_footage(slurm: None, footage: Path, tmp_path: Path) -> None:
    videos, run = tmp_path / "videos", tmp_path / "run"
    videos.mkdir()
    for name in VIDEOS:
        shutil.copy(footage / name, videos / name)
    words = [f"input={videos}", f"run_dir={run}", "recipe=full", "gate=none", "select=none", "unit.videos=2"]
    curate("run", *words, "stage.cut.preset=ultrafast", *CLUSTER)
    eventually(lambda: json.loads(curate("status", str(run), "--json"))["state"] not in ("running", "pending"), 1500)
    assert json.loads(curate("status", str(run), "--json"))["state"] == "done", curate("logs", str(run))

    curate("table", str(run), "-o", str(tmp_path / "clips.parquet"))
    clips = pq.read_table(tmp_path / "clips.parquet")
    assert {name: clips[name].null_count < clips.num_rows for name in SCORES} == dict.fromkeys(SCORES, True)
    assert clips["error"].null_count == clips.num_rows, clips["error"].unique()
    said = said_in_samples(run)
    assert len(said) == clips["state"].to_pylist().count("kept") > 10
    assert all(set(SCORES) <= set(one) for one in said)


def said_in_samples(run: Path) -> list[dict[str, Any]]:
    found = []
    for path in run.glob("pack/*/tars/*.tar"):
        with tarfile.open(path) as pack:
            found += [json.load(pack.extractfile(name)) for name in pack.getnames() if name.endswith(".json")]
    return found
