import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.stage import Clip, Item, Resources
from hpc_curate.stages.embed import Embed

EMBED = Embed(model="sscd", weights_path="none.onnx", dimensions=2)


def clip(*greys, size=(2, 2)):
    frames = np.stack([np.full((*size, 3), grey, np.uint8) for grey in greys])
    return Clip(f"clip{greys}", frames, np.arange(len(greys), dtype=float))


def grey_and_width(frames):
    """Features that can be computed in the head: the grey value and the width."""
    return np.stack([frames[:, 0, 0, 0], np.full(len(frames), frames.shape[2])], 1).astype(np.float32)


def grey_or_its_opposite(frames):
    grey = frames[:, 0, 0, 0].astype(np.float32)
    return np.stack([np.where(grey > 9, -1, grey), np.zeros(len(frames))], 1).astype(np.float32)


def grey_picture(values):
    return values.astype(np.uint8)[..., None].repeat(3, 2)


def vectors(scores):
    return [score["embedding"].astype(float).tolist() for score in scores]


def test_every_frame_weighs_the_same_and_the_mean_has_length_one():
    # (0, 2) and (200, 0): both count as a direction, whatever their length.
    def features(frames):
        grey = frames[:, 0, 0, 0].astype(np.float32)
        return np.stack([grey, np.where(grey == 0, 2, 0)], 1).astype(np.float32)

    [found] = vectors(EMBED.score(features, [clip(0, 200)]))
    assert found == pytest.approx([0.5**0.5, 0.5**0.5], abs=1e-3)


def test_each_clip_gets_its_own_vector_whatever_the_sizes_and_counts():
    clips = [clip(0, 0, size=(2, 3)), clip(4, size=(2, 3)), clip(8, size=(1, 6)), clip(3, 3, 3, size=(2, 4))]
    found = vectors(EMBED.score(grey_and_width, clips))
    expected = [[0, 1], [0.8, 0.6], [0.8, 0.6], [0.6, 0.8]]
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-3)


def test_a_clip_without_a_direction_is_bad_and_the_others_are_not():
    bad, cancelled, good = EMBED.score(grey_or_its_opposite, [clip(0), clip(1, 10), clip(1)])
    assert isinstance(bad, BadInput)
    assert isinstance(cancelled, BadInput)
    assert good["embedding"].tolist() == [1, 0]


def test_features_that_are_not_finite_are_bad():
    [bad] = EMBED.score(lambda frames: np.full((len(frames), 2), np.nan, np.float32), [clip(1)])
    assert isinstance(bad, BadInput)


def test_rows_fit_the_schema_with_nulls_for_bad_clips():
    schema = EMBED.writes()["rows"]
    [score] = EMBED.score(grey_and_width, [clip(4, size=(2, 3))])
    rows = [{"clip_id": "a", **score}, {"clip_id": "b", "error": "bad"}]
    table = pa.Table.from_pylist(rows, schema=schema)
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), 2)
    assert table["embedding"].is_null().to_pylist() == [False, True]


def test_a_model_of_other_dimensions_is_a_wrong_setting():
    with pytest.raises(ConfigError, match="dimensions is 2, but sscd gives 3"):
        EMBED.score(lambda frames: np.ones((len(frames), 3), np.float32), [clip(1)])


@pytest.mark.parametrize("settings", [{"model": "sscd"}, {"model": "open_clip", "weights_path": "x.pt"}])
def test_a_model_that_cannot_be_loaded_is_refused_at_once(settings):
    with pytest.raises(ValueError, match="needs"):
        Embed(**settings)


def test_missing_weights_are_a_wrong_setting():
    with pytest.raises(ConfigError, match="weights_path=none.onnx: no such file"):
        EMBED.signature([])


def test_the_weights_count_and_their_place_does_not(tmp_path):
    def signature(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return Embed(model="sscd", weights_path=str(path)).signature([])

    assert signature("a.onnx", b"one") == signature("b.onnx", b"one")
    assert signature("a.onnx", b"one") != signature("a.onnx", b"two")


def test_the_default_embeds_pictures_and_tells_them_apart():
    pytest.importorskip("onnxruntime")
    stage = Embed()
    y, x = np.mgrid[:180, :320]
    disc = grey_picture(np.where((x - 160) ** 2 + (y - 90) ** 2 < 3600, 220, 60 + x / 4))
    stripes = grey_picture(128 + 100 * np.sin(x / 6))
    clips = [Clip("", frame[None], np.zeros(1)) for frame in (disc, disc + np.uint8(5), stripes)]
    first, near, other = np.array(vectors(stage.score(stage.load(Resources(cpus=1)), clips)))
    assert first @ near > 0.95
    assert first @ other < 0.5
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-3)


class Line:
    """Inputs: clips with their frames."""

    resources = Resources(batch_size=2)

    def __init__(self, *clips):
        self.clips = clips

    def frames(self, ids, count, columns=()):
        assert ids == tuple(clip.clip_id for clip in self.clips)
        return ((clip.clip_id, clip) for clip in self.clips)


def processed(tmp_path, *clips, **settings):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    stage = Embed(model="sscd", weights_path=str(tmp_path / "model.onnx"), dimensions=2, **settings)
    item = Item("all", tuple(clip.clip_id for clip in clips))
    return stage, stage.process(grey_and_width, Line(*clips), item)


def test_every_vector_says_what_made_it(tmp_path):
    stage, found = processed(tmp_path, clip(4), clip(8), clip(9))
    assert set(found["rows"]["embedding_model"].to_pylist()) == {stage.about()["embedding_model"]}
    [about] = found["embedding_models"].to_pylist()
    assert about["embedding_model"].startswith("sscd/" + about["weights_sha256"][:12])
    assert about["dimensions"] == 2 and "ImageNet" in about["normalisation"]


def test_vectors_of_frames_are_kept_where_they_are_asked_for(tmp_path):
    stage, found = processed(tmp_path, clip(0, 4, size=(2, 3)), clip(3, size=(2, 4)), per_frame=True)
    frames = found["frame_embeddings"]
    assert frames.schema == stage.writes()["frame_embeddings"]
    assert frames["clip_id"].to_pylist() == ["clip(0, 4)", "clip(0, 4)", "clip(3,)"]
    assert frames["time_s"].to_pylist() == [0.0, 1.0, 0.0]
    expected = [[0, 1], [0.8, 0.6], [0.6, 0.8]]
    assert np.array(frames["frame_embedding"].to_pylist(), float) == pytest.approx(np.array(expected), abs=1e-3)
    assert "frame_embeddings" not in processed(tmp_path, clip(1))[1]
