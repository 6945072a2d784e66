import numpy as np
import pytest

from hpc_curate.stage import Clip
from hpc_curate.stages.safety import Safety


def grey_share(frames):
    """A model that can be computed in the head."""
    return frames[:, 0, 0, 0].astype(np.float32) / 200


def clip(*greys):
    frames = np.stack([np.full((2, 3, 3), grey, np.uint8) for grey in greys])
    return Clip("", frames, np.arange(float(len(greys))))


def test_each_clip_gets_the_mean_and_the_maximum_of_its_own_frames():
    assert Safety().score(grey_share, [clip(20, 60), clip(0, 0, 0, 100)]) == [
        {"nsfw_mean": 0.2, "nsfw_max": 0.3},
        {"nsfw_mean": 0.125, "nsfw_max": 0.5},
    ]


def test_the_weights_are_part_of_the_signature():
    assert [path.name for path in Safety().weights()] == ["open-nsfw.onnx"]


@pytest.mark.parametrize("settings", [{"model": "classifier"}, {"weights_path": "folder"}])
def test_a_classifier_and_its_folder_go_together(settings):
    with pytest.raises(ValueError, match="go together"):
        Safety(**settings)
