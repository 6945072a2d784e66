"""Words find clips by the text tower of the model that embedded them. The weights are random: so is what is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hpc_curate import cli, search
from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def model(tmp_path: Path) -> list[str]:
    """The overrides that embed with a tiny model whose weights are random."""
    (tmp_path / "random-search.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "random-search.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("random-search").state_dict(), tmp_path / "random.pt")
    settings = [
        "model=open_clip",
        "architecture=random-search",
        f"weights_path={tmp_path / 'random.pt'}",
        "dimensions=8",
    ]
    return [f"stage.embed.{setting}" for setting in settings]


def curated(video: Path, run: Path, stages: str, overrides: list[str]) -> int:
    cut = ["stage.shots.max_duration_s=1", "stage.shots.min_duration_s=0.5", "launch=inline"]
    return cli.main(["run", f"input={video.parent}", f"run_dir={run}", f"stage=[{stages}]", *cut, *overrides])


def test_words_are_compared_with_the_clips_of_their_own_model(
    make_video, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, run = make_video("videos/moving.mp4", "testsrc=s=64x48:r=10:d=6"), tmp_path / "run"
    assert curated(video, run, "scan,shots,embed", model) == 0
    capsys.readouterr()
    assert cli.main(["search", str(run), "a red car at night", "--json"]) == 0
    said = capsys.readouterr().out
    found = json.loads(said[said.index("[\n") :])  # behind the log lines that `run` turned on in this process

    network = open_clip.create_model("random-search", pretrained=str(tmp_path / "random.pt"))
    with torch.inference_mode():
        text = network.encode_text(open_clip.get_tokenizer("random-search")(["a red car at night"]), normalize=True)
    plan = plans.load_latest(run)
    rows = {row["clip_id"]: row["embedding"] for batch in search._batches(plan) for row in batch.to_pylist()}
    cosines = {clip: float(np.array(vector, np.float32) @ text.numpy()[0]) for clip, vector in rows.items()}
    assert len(found) == len(cosines) >= 5
    assert {row["clip_id"]: row["similarity"] for row in found} == pytest.approx(cosines, abs=1e-3)
    assert [row["similarity"] for row in found] == sorted((row["similarity"] for row in found), reverse=True)
    assert {row["uri"] for row in found} == {str(video)}


def test_weights_that_were_exchanged_since_are_another_model(make_video, model: list[str], tmp_path: Path) -> None:
    video, run = make_video("videos/moving.mp4"), tmp_path / "run"
    assert curated(video, run, "scan,shots,embed", model) == 0
    plan = plans.load_latest(run)
    query = search.of_text(plan, "a red car")
    with pytest.raises(
        ConfigError, match="search for 'a red car' is for embeddings of other, these are of open_clip:random"
    ):
        search.nearest_clips(plan, search.Query(query.said, query.vector, "other"), 3)


def test_the_line_labels_clips_by_the_model_that_embedded_them_and_by_no_other(
    make_video, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, run = make_video("videos/moving.mp4"), tmp_path / "run"
    assert curated(video, run, "scan,shots,embed,labels", model) == 0
    assert cli.main(["table", str(run), "-o", str(tmp_path / "clips.jsonl")]) == 0
    [*clips] = map(json.loads, (tmp_path / "clips.jsonl").read_text().splitlines())
    assert clips and all(clip["medium"] and 0 < clip["content_probability"] <= 1 for clip in clips)

    assert curated(video, run, "scan,shots,embed,labels", []) == 2
    assert "stage.labels needs stage.embed.model=open_clip" in capsys.readouterr().err
    other = [setting.replace("embed", "labels") for setting in model if "architecture" in setting or "path" in setting]
    with pytest.raises(SystemExit):
        curated(video, run, "scan,shots,embed,labels", other)
    said = capsys.readouterr().err
    assert "stage.labels is for embeddings of open_clip:random-search" in said
    assert "these are of efficientnet" in said
