"""The weights are random: labels by them mean nothing. That prompts and pictures meet as in open_clip is tested."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from hpc_curate.errors import ConfigError
from hpc_curate.stage import Clip, Item, Resources
from hpc_curate.stages.embed import Embed
from hpc_curate.stages.labels import Labels, Prompts

TAXONOMY = {
    "medium": {"live": "a street", "animation": ["a cartoon", "anime"]},
    "time": {"day": "day", "night": "night"},
}
DEFAULT = Path(__file__).resolve().parents[2] / "conf" / "taxonomy" / "default.yaml"
STAGE = Labels("tiny", "weights.pt", TAXONOMY)


def embeddings(vectors, model="m"):
    kind = pa.list_(pa.float16(), len(next(vector for vector in vectors if vector is not None)))
    models = pa.array([None if vector is None else model for vector in vectors], pa.string())
    return pa.table({"embedding": pa.array(vectors, kind), "embedding_model": models})


def test_the_nearest_label_of_each_question_and_its_share():
    prompts = Prompts("m", {"medium": np.eye(2, dtype=np.float32), "time": np.eye(2, dtype=np.float32)[::-1]}, 10.0)
    found = STAGE.derive(prompts, embeddings([[1, 0], [0, 1], None]))
    assert found["medium"].to_pylist() == ["live", "animation", None]
    assert found["time"].to_pylist() == ["night", "day", None]
    share = round(float(1 / (1 + np.exp(-10))), 4)
    assert found["medium_probability"].to_pylist() == pytest.approx([share, share, None])
    assert found["error"].to_pylist() == [None, None, "there is no embedding of it"]
    columns = ["medium", "medium_probability", "time", "time_probability"]
    assert STAGE.writes()["rows"].names == ["clip_id", *columns, "error"]


def test_embeddings_of_another_model_are_refused():
    with pytest.raises(ConfigError, match="stage.labels is for embeddings of m, these are of other"):
        STAGE.derive(Prompts("m", {}, 1.0), embeddings([[1, 0]], "other"))


def test_wrong_settings_are_refused_at_once():
    with pytest.raises(ConfigError, match="needs stage.embed.model=open_clip"):
        Labels(taxonomy=TAXONOMY)
    with pytest.raises(ConfigError, match="taxonomy is empty"):
        Labels("tiny", "weights.pt")
    with pytest.raises(ConfigError, match="taxonomy.medium has 1 labels"):
        Labels("tiny", "weights.pt", {"medium": {"live": "a street"}})
    with pytest.raises(ConfigError, match="templates"):
        Labels("tiny", "weights.pt", TAXONOMY, templates=("a photo",))


def test_the_taxonomy_of_the_package_is_one_and_a_question_can_be_taken_out():
    taxonomy = yaml.safe_load(DEFAULT.read_text())["taxonomy"]
    assert {"medium", "medium_probability", "content"} <= {*Labels("t", "w", taxonomy).writes()["rows"].names}
    assert "content" not in Labels("t", "w", {**taxonomy, "content": None}).writes()["rows"].names


@pytest.fixture(scope="module")
def random_clip_model(tmp_path_factory):
    """The settings of a tiny model with random weights, and the model."""
    open_clip, torch = pytest.importorskip("open_clip"), pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("open_clip")
    tiny = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    (folder / "random-labels.json").write_text(json.dumps(tiny))
    open_clip.add_model_config(folder / "random-labels.json")
    torch.manual_seed(0)
    model = open_clip.create_model("random-labels")
    torch.save(model.state_dict(), folder / "random.pt")
    return {"architecture": "random-labels", "weights_path": str(folder / "random.pt")}, model.eval()


class Line:
    """Inputs: one clip with two frames, then what embed made of it."""

    resources = Resources(cpus=1)

    def __init__(self):
        frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        self.clip, self.rows = Clip("a", frames, np.arange(2.0)), None

    def frames(self, ids, count, columns=()):
        return [("a", self.clip)]

    def clips(self, names, ids):
        return self.rows.select(["clip_id", *names])


def test_labels_of_a_clip_are_those_that_open_clip_itself_would_give(random_clip_model):
    import open_clip
    import torch

    settings, model = random_clip_model
    line, item, resources = Line(), Item("all", ("a",)), Resources(cpus=1)
    embed = Embed(model="open_clip", dimensions=8, **settings)
    line.rows = embed.process(embed.load(resources), line, item)["rows"]
    stage = Labels(taxonomy=TAXONOMY, templates=("a photo of {}.", "{}!"), **settings)
    found = stage.process(stage.load(resources), line, item)["rows"].to_pylist()[0]

    tokenizer = open_clip.get_tokenizer("random-labels")
    with torch.inference_mode():
        texts = tokenizer(
            ["a photo of a street.", "a street!"]
            + [f"{a}{t}{b}" for t in ("a cartoon", "anime") for a, b in (("a photo of ", "."), ("", "!"))]
        )
        vectors = model.encode_text(texts, normalize=True).numpy()
    labels = np.stack([vectors[:2].mean(0), vectors[2:].mean(0)])
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    scores = labels @ np.array(line.rows["embedding"].to_pylist()[0], np.float32) / 0.07
    chances = np.exp(scores) / np.exp(scores).sum()
    assert found["medium"] == ["live", "animation"][chances.argmax()]
    assert found["medium_probability"] == pytest.approx(chances.max(), abs=2e-3)


def test_the_same_architecture_with_other_weights_is_another_model(random_clip_model, tmp_path):
    import torch

    settings, model = random_clip_model
    line, item, resources = Line(), Item("all", ("a",)), Resources(cpus=1)
    embed = Embed(model="open_clip", dimensions=8, **settings)
    line.rows = embed.process(embed.load(resources), line, item)["rows"]
    state = {name: value + 0.01 for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "other.pt")
    stage = Labels(settings["architecture"], str(tmp_path / "other.pt"), TAXONOMY)
    with pytest.raises(ConfigError, match="model, weights and normalisation must be the same"):
        stage.process(stage.load(resources), line, item)
