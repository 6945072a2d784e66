"""The weights are random: this shows that text and pictures of one local checkpoint meet, not that they match."""

import json

import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import open_clip_image, open_clip_text
from hpc_curate.stage import Resources

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
TEXTS = ["a red car at night", "a photo of a dog, running " * 20, "ein Haus"]


def checkpoint(folder, name, **text):
    config = {**TINY, "text_cfg": {**TINY["text_cfg"], **text}}
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    torch.save(model.state_dict(), folder / f"{name}.pt")
    return folder / f"{name}.pt", model.eval()


def test_texts_are_encoded_as_open_clip_itself_does(tmp_path):
    path, model = checkpoint(tmp_path, "random-text")
    tower = open_clip_text.load("random-text", path, Resources(cpus=1))
    with torch.inference_mode():
        expected = model.encode_text(open_clip.get_tokenizer("random-text")(TEXTS)).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert tower.encode(TEXTS) == pytest.approx(expected, abs=1e-5)
    assert tower.scale == pytest.approx(1 / 0.07, rel=1e-4)


def test_cosines_of_texts_and_pictures_are_the_logits_of_the_whole_model(tmp_path):
    path, model = checkpoint(tmp_path, "random-both")
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 32, 3), dtype=np.uint8)
    pictures = open_clip_image.load("random-both", path, Resources(cpus=1))(frames)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    tower = open_clip_text.load("random-both", path, Resources(cpus=1))

    from PIL import Image

    preprocess = open_clip.create_model_from_pretrained("random-both", pretrained=str(path))[1]
    with torch.inference_mode():
        inputs = torch.stack([preprocess(Image.fromarray(frame)) for frame in frames])
        logits = model.get_logits(inputs, open_clip.get_tokenizer("random-both")(TEXTS))[0].numpy()
    assert tower.scale * pictures @ tower.encode(TEXTS).T == pytest.approx(logits, abs=1e-3)


def test_a_tokenizer_that_would_be_fetched_is_refused(tmp_path):
    path, _ = checkpoint(tmp_path, "random-fetched")
    config = json.loads((tmp_path / "random-fetched.json").read_text())
    config["text_cfg"]["hf_tokenizer_name"] = "nobody/nothing"
    (tmp_path / "random-fetched.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "random-fetched.json")
    with pytest.raises(ConfigError, match="fetched from a hub"):
        open_clip_text.load("random-fetched", path, Resources(cpus=1))
