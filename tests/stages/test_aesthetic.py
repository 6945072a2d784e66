import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.stage import Clip, Item, Resources
from hpc_curate.stages.aesthetic import Aesthetic, colourfulness
from hpc_curate.stages.embed import Embed

# With the module and not in a test: torch may crash where it is loaded after libraries that tests of scan load.
open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

FILES = {"architecture": "ViT", "weights_path": "none.pt", "head_weights_path": "none.pth"}


def clip(*greys):
    frames = np.stack([np.full((2, 3, 3), grey, np.uint8) for grey in greys])
    return Clip("", frames, np.arange(float(len(greys))))


def tenths(frames):
    """A model that can be computed in the head."""
    return frames[:, :1, 0, 0].astype(np.float32) / 10


def test_each_clip_gets_the_mean_or_the_worst_of_its_own_frames():
    clips = [clip(40, 60), clip(10, 20, 60)]
    mean, worst = Aesthetic(model="open_clip", **FILES), Aesthetic(model="open_clip", reduction="min", **FILES)
    assert mean.score(tenths, clips) == [{"aesthetic": 5.0}, {"aesthetic": 3.0}]
    assert worst.score(tenths, clips) == [{"aesthetic": 4.0}, {"aesthetic": 1.0}]


def test_a_clip_without_a_finite_score_is_bad_and_the_others_are_not():
    def no_score_for_black(frames):
        return np.where(tenths(frames) > 0, tenths(frames), np.nan)

    bad, good = Aesthetic(model="open_clip", **FILES).score(no_score_for_black, [clip(10, 0), clip(10)])
    assert isinstance(bad, BadInput)
    assert good == {"aesthetic": 1.0}


def test_the_proxy_is_never_called_aesthetic():
    assert Aesthetic().writes()["rows"].names == ["clip_id", "aesthetic_proxy", "colourfulness", "contrast", "error"]
    assert Aesthetic(model="open_clip", **FILES).writes()["rows"].names == ["clip_id", "aesthetic", "error"]


def test_colourfulness_is_that_of_hasler_and_suesstrunk():
    frame = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    # Red minus green: 255 and 0; their mean minus blue: 127.5 and -255.
    spread, centre = np.hypot(127.5, 191.25), np.hypot(127.5, -63.75)
    assert colourfulness(frame) == pytest.approx(spread + 0.3 * centre, rel=1e-5)
    assert colourfulness(np.full((4, 4, 3), 90, np.uint8)) == 0


def test_a_picture_that_loses_colour_contrast_or_sharpness_loses_in_the_proxy(still):
    cv2 = pytest.importorskip("cv2")
    frame = still("city.mpg", 2)
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    pale = cv2.addWeighted(frame, 0.6, grey, 0.4, 0)
    flat = cv2.addWeighted(frame, 0.5, np.full_like(frame, 128), 0.5, 0)
    stage = Aesthetic()
    pictures = [frame, pale, flat, cv2.GaussianBlur(frame, (0, 0), 3), grey]
    best, *worse, colourless = stage.score(stage.load(Resources()), [Clip("", p[None], np.zeros(1)) for p in pictures])
    assert all(0 < score["aesthetic_proxy"] < best["aesthetic_proxy"] < 1 for score in worse)
    assert worse[1]["contrast"] == pytest.approx(best["contrast"] / 2, rel=0.01)
    assert colourless["colourfulness"] == colourless["aesthetic_proxy"] == 0


@pytest.mark.parametrize(
    "settings", [{"model": "open_clip", "architecture": "ViT"}, {"head_weights_path": "a.pth"}, {"from_embed": True}]
)
def test_a_model_without_all_its_files_is_refused_and_files_without_the_model(settings):
    with pytest.raises(ValueError, match="model=open_clip"):
        Aesthetic(**settings)


def test_missing_weights_are_a_wrong_setting():
    with pytest.raises(ConfigError, match="stage.aesthetic.weights_path=none.pt: no such file"):
        Aesthetic(model="open_clip", **FILES).signature([])


def test_the_content_of_both_files_counts_and_their_place_does_not(tmp_path):
    def signature(name, head):
        (tmp_path / f"{name}.pt").write_bytes(b"clip")
        (tmp_path / f"{name}.pth").write_bytes(head)
        files = {"weights_path": str(tmp_path / f"{name}.pt"), "head_weights_path": str(tmp_path / f"{name}.pth")}
        return Aesthetic(model="open_clip", architecture="ViT", **files).signature([])

    assert signature("a", b"one") == signature("b", b"one")
    assert signature("a", b"one") != signature("c", b"two")


TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def random_files(tmp_path_factory):
    """A tiny network and a head with random weights: they show that files are read and meet, not that scores mean
    anything."""
    folder = tmp_path_factory.mktemp("aesthetic")
    (folder / "random-aesthetic.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "random-aesthetic.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("random-aesthetic").state_dict(), folder / "clip.pt")
    torch.save(torch.nn.Linear(8, 1).state_dict(), folder / "head.pth")
    files = {"weights_path": str(folder / "clip.pt"), "head_weights_path": str(folder / "head.pth")}
    return {"model": "open_clip", "architecture": "random-aesthetic", **files}


@pytest.fixture(scope="module")
def street(still):
    return Clip("a", np.stack([still("bikes.mp4", 3), still("bikes.mp4", 5)]), np.arange(2.0))


def test_clip_and_head_from_files_score_real_frames_as_their_authors_do(random_files, street):
    stage = Aesthetic(reduction="min", **random_files)
    [score] = stage.score(stage.load(Resources(cpus=1)), [street])

    model, _, preprocess = open_clip.create_model_and_transforms("random-aesthetic", random_files["weights_path"])
    head = torch.nn.Linear(8, 1)
    head.load_state_dict(torch.load(random_files["head_weights_path"], weights_only=True))
    with torch.inference_mode():
        pictures = torch.stack([preprocess(Image.fromarray(frame)) for frame in street.frames])
        features = model.eval().encode_image(pictures)
        expected = head(features / features.norm(dim=-1, keepdim=True)).min().item()
    assert score == {"aesthetic": pytest.approx(expected, abs=1e-4)}


class AfterEmbed:
    """The inputs of a unit in which stage embed has kept the vectors of one clip's frames, and failed on another."""

    def __init__(self, stage, clip):
        [score] = stage.score(stage.load(Resources(cpus=1)), [clip])
        self.about = stage.about()["embedding_model"]
        rows = [{"clip_id": clip.clip_id, "frame_embedding": vector} for vector in score["vectors"]]
        self.kept = pa.Table.from_pylist(rows, schema=stage.writes()["frame_embeddings"])

    def clips(self, columns, ids):
        assert columns == ["embedding_model"]
        return pa.table({"clip_id": ids, "embedding_model": [self.about, None]})

    def table(self, name, columns):
        assert name == "frame_embeddings"
        return self.kept.select(columns)


def test_vectors_that_stage_embed_has_kept_score_as_the_frames_do(random_files, street):
    network = {name: random_files[name] for name in ("model", "architecture", "weights_path")}
    inputs = AfterEmbed(Embed(dimensions=8, per_frame=True, **network), street)
    again, stage = Aesthetic(**random_files), Aesthetic(from_embed=True, **random_files)
    [expected] = again.score(again.load(Resources(cpus=1)), [street])
    found = stage.process(stage.load(Resources(cpus=1)), inputs, Item("all", ("a", "b")))["rows"]
    assert found["aesthetic"].to_pylist() == [pytest.approx(expected["aesthetic"], abs=2e-3), None]
    assert found["error"].to_pylist() == [None, "stage embed kept no vectors of its frames"]
    assert stage.reads() == ("frame_embeddings", "embedding_model")

    inputs.about = "open_clip:other/0/0"
    with pytest.raises(ConfigError, match="stage.aesthetic is for embeddings of open_clip:random-aesthetic/"):
        stage.process(stage.load(Resources(cpus=1)), inputs, Item("all", ("a", "b")))
