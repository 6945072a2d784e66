"""From people's labels to a column and back, on real footage: animation against live, tried on videos not labelled.

All animation is of one film, so this shows that the parts work together, not how well animation is told in general.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import curate

from hpc_curate import cli, search
from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError
from hpc_curate.learning import fitting, labels, utility
from hpc_curate.learning.fitting import Settings

pytestmark = pytest.mark.timeout(600)

# What the people have seen, and what they have not: name, source, second at which the excerpt begins.
EXCERPTS = {
    "film-a": ("bbb.mp4", 60),
    "film-b": ("bbb.mp4", 200),
    "film-c": ("bbb.mp4", 450),
    "film-unseen": ("bbb.mp4", 330),
    "session": ("demo.mp4", 20),
    "street": ("bikes.mp4", 0),
    "towers": ("city.mpg", 1),
    "face-unseen": ("face.mp4", 2),
}
SETTINGS = (
    "launch=inline",
    "stage.shots.max_duration_s=1.5",
    "stage.shots.min_duration_s=0.5",
    "stage.scan.pack_per_s=4",
)


@pytest.fixture(scope="module")
def videos(footage: Path, ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, (source, start_s) in EXCERPTS.items():
        cut = ["-ss", str(start_s), "-i", footage / source, "-t", "5", "-an", "-vf", "scale=480:-2"]
        encode = ["-c:v", "libx264", "-preset", "veryfast", "-threads", "1", folder / f"{name}.mp4"]
        subprocess.run([ffmpeg, "-v", "error", *cut, *encode], check=True)
    return folder


@pytest.fixture(scope="module")
def run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    curate("run", f"input={videos}", f"run_dir={run}", "stage=[scan,shots,embed,utility]", *SETTINGS)
    return run


def clips(run: Path, tmp_path: Path) -> list[dict]:
    assert cli.main(["table", str(run), "-o", str(tmp_path / "clips.parquet")]) == 0
    return pq.read_table(tmp_path / "clips.parquet").to_pylist()


@pytest.fixture
def labelled(run: Path, tmp_path: Path) -> Path:
    """A table of what people said of the clips that they have seen, of one that is not in the run, and of a video."""
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["clip_id", "style", "useful", "stars"])
        rows.writerow(["0" * 20 + "_0_9", "live", 1, 5])
        rows.writerow(["0" * 20, "animation", 0, 1])
        for clip in clips(run, tmp_path):
            if "unseen" not in clip["name"]:
                film = "film" in clip["name"]
                rows.writerow([clip["clip_id"], "animation" if film else "live", int(not film), 2 if film else 4])
    return path


def test_a_probe_tells_animation_from_live_footage_in_videos_without_labels(
    run: Path, videos: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "style.json"
    assert cli.main(["probe", "fit", str(labelled), str(run), "-o", str(weights), "--label", "style"]) == 0
    said = capsys.readouterr().out
    assert "each clip predicted without its own video" in said
    assert "1 label left out: this run has no such clip" in said
    assert "1 label left out: of a whole video" in said
    stages = "stage=[scan,shots,embed,utility,probe]"
    assert f"use it: hpc-curate run … {stages} +stage.probe.paths.style={weights}" in said
    fitted = json.loads(weights.read_text())["fitted"]
    assert fitted["figures"]["videos"] == 6
    assert fitted["figures"]["accuracy"] > 0.75  # a coin has one half
    assert "<svg" in weights.with_suffix(".html").read_text()

    stages = [stages, f"+stage.probe.paths.style={weights}"]
    curate("run", f"input={videos}", f"run_dir={run}", *stages, *SETTINGS)
    unseen = [clip for clip in clips(run, tmp_path) if "unseen" in clip["name"]]
    assert len(unseen) >= 5
    right = [clip["style"] == ("animation" if "film" in clip["name"] else "live") for clip in unseen]
    assert np.mean(right) > 0.75
    assert all(0.5 <= clip["style_probability"] <= 1 for clip in unseen)


def test_labels_of_clips_that_the_gate_rejected_are_told_from_those_of_no_clip(
    run: Path, videos: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gated = ["stage=[scan,shots,gate,embed]", "+stage.gate.rules.duration_s.min=1"]
    # Other tests ask the latest plan of the run; clips that have an embedding keep it.
    run = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("embed")))
    curate("run", f"input={videos}", f"run_dir={run}", *gated, *SETTINGS)
    every = {row["clip_id"]: row["state"] for row in clips(run, tmp_path)}
    with labelled.open() as file:
        asked = [row["clip_id"] for row in csv.DictReader(file)]
    rejected = sum(every.get(clip) == "rejected" for clip in asked)
    assert rejected > 1
    capsys.readouterr()
    assert cli.main(["probe", "fit", str(labelled), str(run), "-o", str(tmp_path / "s.json"), "--label", "style"]) == 0
    said = capsys.readouterr().out
    assert "1 label left out: this run has no such clip" in said
    assert f"{rejected} labels left out: the clip has no embedding (the gate rejected it, or" in said


def test_utility_is_fitted_to_labels_and_computed_without_a_frame(
    run: Path, videos: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "utility.json"
    asked = ["--label", "useful", "--columns", "motion,luma_mean,sharpness,luma_bright_share"]
    assert cli.main(["utility", "fit", str(labelled), str(run), "-o", str(weights), *asked]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("auc", "brier", "plcc", "calibration error", "weight of one deviation"))

    settings = ["stage=[scan,shots,embed,utility]", f"stage.utility.model_path={weights}"]
    said = curate("run", f"input={videos}", f"run_dir={run}", *settings, *SETTINGS)
    assert "utility unit 0" in said and "scan unit" not in said and "embed unit" not in said
    model = utility.read(weights)
    for clip in clips(run, tmp_path):
        values = np.array([[np.nan if clip[name] is None else clip[name] for name in model.columns]], np.float64)
        assert clip["utility"] == pytest.approx(model.predict(values)[0], abs=1e-4)


def test_a_model_that_is_no_better_than_one_answer_for_every_clip_is_not_recommended(
    run: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two videos of a kind the clips of one are good and those of the other bad: neither tells of the other."""
    good = {"film-a.mp4": 1, "film-b.mp4": 0, "session.mp4": 1, "street.mp4": 0}
    seen = [(clip["clip_id"], good[clip["name"]]) for clip in clips(run, tmp_path) if clip["name"] in good]
    path = tmp_path / "contrary.csv"
    lines = [
        f"{clip},{value},{('bad', 'good')[value]},{1 + 3 * value + at % 2}" for at, (clip, value) in enumerate(seen)
    ]
    path.write_text("clip_id,useful,which,stars\n" + "\n".join(lines) + "\n")
    fits = (("utility", "useful", "brier"), ("probe", "which", "accuracy"), ("utility", "stars", "rmse"))
    for verb, label, figure in fits:
        words = [verb, "fit", str(path), str(run), "-o", str(tmp_path / "weights.json"), "--label", label]
        assert cli.main(words) == 0
        said = capsys.readouterr().out
        figures = json.loads((tmp_path / "weights.json").read_text())["fitted"]["figures"]
        assert f"{figure} {figures[figure]:.3f}" in said and "do not use it yet" in said
        assert "use it: " not in said


def test_ratings_are_fitted_in_their_own_unit(run: Path, labelled: Path) -> None:
    found = fitting.fit_utility(plans.load_latest(run), labels.read(labelled, "stars"), None, Settings())
    assert json.loads(found.file)["kind"] == "ridge"
    assert {"plcc", "srcc", "rmse", "clips", "videos"} <= set(found.figures)
    columns = {feature.column for feature in found.features}
    assert {"motion", "sharpness"} <= columns
    assert not {"start_s", "end_s", "utility"} & columns


def test_labels_that_cannot_be_used_say_why(run: Path, labelled: Path) -> None:
    plan, given = plans.load_latest(run), labels.read(labelled, "useful")
    with pytest.raises(ConfigError, match="motoin: no score of this run; there are"):
        fitting.fit_utility(plan, given, ["motoin"], Settings())
    nowhere = labels.Labels(["0" * 20 + "_0_9"], ["1"])
    with pytest.raises(ConfigError, match="none of the 1 labelled clips is in this run"):
        fitting.fit_probe(plan, nowhere, Settings())
    same = labels.Labels(given.ids, ["1"] * len(given.ids))
    with pytest.raises(ConfigError, match="all labels are the same"):
        fitting.fit_utility(plan, same, None, Settings())
    with pytest.raises(ConfigError, match="every label is '1'"):
        fitting.fit_probe(plan, same, Settings())


def test_clips_like_a_clip_are_of_its_own_video(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = clips(run, tmp_path)
    clip = next(clip for clip in every if clip["name"] == "face-unseen.mp4")
    capsys.readouterr()
    assert cli.main(["search", str(run), "--like", clip["clip_id"], "--top", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [set(row) for row in found] == [{"clip_id", "similarity", "uri", "start_s"}] * 3
    assert clip["clip_id"] not in [row["clip_id"] for row in found]
    assert found[0]["uri"].endswith("face-unseen.mp4")
    start_of = {each["clip_id"]: each["start_s"] for each in every}
    assert [row["start_s"] for row in found] == [start_of[row["clip_id"]] for row in found]
    assert cli.main(["search", str(run), "--like", clip["clip_id"], "--top", "1"]) == 0
    assert capsys.readouterr().out.split()[:4] == ["clip_id", "uri", "similarity", "start_s"]


def test_a_search_is_exact_however_the_rows_are_divided(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, every = plans.load_latest(run), [clip["clip_id"] for clip in clips(run, tmp_path)]
    query = search.of_clip(plan, every[0])
    whole = search.nearest_clips(plan, query, 100)
    assert len(whole) == len(every) - 1
    assert [similarity for _, similarity in whole] == sorted((similarity for _, similarity in whole), reverse=True)
    monkeypatch.setattr(search, "_ROWS", 2)
    assert [clip for clip, _ in search.nearest_clips(plan, query, 5)] == [clip for clip, _ in whole[:5]]


def test_a_search_that_cannot_be_answered_says_why(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["a red car"], "stage.embed.model=open_clip only; this run has efficientnet"),
        (["--like", "nobody_0_9"], "has no embedding in this run"),
        ([], "give either words"),
        (["a red car", "--like", "nobody_0_9"], "give either words"),
    ):
        assert cli.main(["search", str(run), *words]) == 2
        assert said in capsys.readouterr().err
