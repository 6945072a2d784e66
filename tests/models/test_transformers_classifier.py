"""A tiny ViT with random weights: what it says means nothing, but it is what transformers itself says."""

import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import transformers_classifier
from hpc_curate.stage import Clip, Resources
from hpc_curate.stages.safety import Safety

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def random_vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random") / "vit"
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    labels = {0: "normal", 1: "nsfw", 2: "gore"}
    torch.manual_seed(0)
    config = transformers.ViTConfig(**shape, image_size=32, patch_size=16, id2label=labels, initializer_range=1.0)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_real_frames_have_the_chances_that_transformers_own_pipeline_gives_them(random_vit, still):
    from PIL import Image

    frames = [still("bikes.mp4", 3), still("face.mp4", 5), still("gymnast-1-1.mp4", 1)]
    model = transformers_classifier.load(random_vit, ["nsfw", "gore"], Resources(cpus=1))
    pipeline = transformers.pipeline("image-classification", model=str(random_vit), device="cpu")
    for frame in frames:
        said = {one["label"]: one["score"] for one in pipeline(Image.fromarray(frame), top_k=3)}
        assert model(frame[None]) == pytest.approx([said["nsfw"] + said["gore"]], abs=1e-3)


def test_loading_leaves_no_bar_in_a_log(random_vit, capfd):
    capfd.readouterr()
    transformers_classifier.load(random_vit, ["nsfw"], Resources(cpus=1))
    assert "\r" not in capfd.readouterr().err


def test_the_stage_scores_with_it(random_vit):
    stage = Safety(model="classifier", weights_path=str(random_vit), unsafe_labels=("nsfw", "normal", "gore"))
    frames = np.zeros((2, 40, 60, 3), np.uint8)
    assert stage.score(stage.load(Resources(cpus=1)), [Clip("", frames, np.arange(2.0))]) == [
        {"nsfw_mean": 1.0, "nsfw_max": 1.0}
    ]
    assert "config.json" in [path.name for path in stage.weights()]


def test_a_label_that_it_does_not_know_is_refused(random_vit):
    with pytest.raises(ConfigError, match="vit has no label porn; it has normal, nsfw, gore"):
        transformers_classifier.load(random_vit, ["porn"], Resources(cpus=1))
