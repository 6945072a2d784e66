"""The weights are random: this shows that a local checkpoint is read and used, not that features are good."""

import json

import numpy as np
import pytest
from PIL import Image

from hpc_curate.errors import ConfigError
from hpc_curate.models import open_clip_image
from hpc_curate.stage import Clip, Resources
from hpc_curate.stages.embed import Embed

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def random_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "random-tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "random-tiny.json")
    torch.manual_seed(0)
    model = open_clip.create_model("random-tiny")
    torch.save(model.state_dict(), folder / "random.pt")
    return folder / "random.pt", model.eval()


def pictures(count):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_features_are_those_of_the_local_weights(random_checkpoint):
    path, model = random_checkpoint
    frames = pictures(3)
    found = open_clip_image.load("random-tiny", path, Resources(cpus=1))(frames)
    mean, deviation = (np.array(v, np.float32) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    pixels = ((frames / 255 - mean) / deviation).astype(np.float32).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        expected = model.encode_image(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()
    assert found == pytest.approx(expected, abs=1e-4)


def test_real_frames_have_the_features_that_open_clip_itself_gives_them(random_checkpoint, still):
    path, _ = random_checkpoint
    model, _, preprocess = open_clip.create_model_and_transforms("random-tiny", pretrained=str(path))
    load = open_clip_image.load("random-tiny", path, Resources(cpus=1))
    for frame in (still("bikes.mp4", 3), still("gymnast-1-1.mp4", 1), still("demo.mp4", 20)):
        with torch.inference_mode():
            expected = model.eval().encode_image(preprocess(Image.fromarray(frame))[None]).numpy()
        assert load(frame[None]) == pytest.approx(expected, abs=1e-5)


def test_the_activation_is_that_of_the_weights_that_are_named():
    assert "force_quick_gelu True" in open_clip_image.normalisation("ViT-B-32@openai")
    assert "quick_gelu" not in open_clip_image.normalisation("ViT-B-32@laion2b_s34b_b79k")
    with pytest.raises(ConfigError, match="activations; name the one meant, as ViT-B-32@openai"):
        open_clip_image.normalisation("ViT-B-32")


def test_the_stage_embeds_with_them(random_checkpoint):
    stage = Embed(model="open_clip", architecture="random-tiny", weights_path=str(random_checkpoint[0]), dimensions=8)
    [score] = stage.score(stage.load(Resources(cpus=1)), [Clip("a", pictures(2), np.arange(2.0))])
    assert score["embedding"].shape == (8,)


def test_an_architecture_with_several_normalisations_must_name_one(random_checkpoint):
    with pytest.raises(ConfigError, match="ViT-L-14@"):
        open_clip_image.load("ViT-L-14", random_checkpoint[0], Resources())


@pytest.mark.parametrize("architecture", ["ViT-none", "ViT-B-32@none"])
def test_an_unknown_name_is_refused(random_checkpoint, architecture):
    with pytest.raises(ConfigError, match="has no"):
        open_clip_image.load(architecture, random_checkpoint[0], Resources())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        open_clip_image.load("ViT-B-32", tmp_path / "absent.pt", Resources())
