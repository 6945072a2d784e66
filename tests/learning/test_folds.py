import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.learning import folds

VIDEOS = np.repeat([f"v{number}" for number in range(12)], np.arange(1, 13))
CLASSES = (np.repeat(np.arange(12), np.arange(1, 13)) % 3 == 0).astype(np.int64)


def test_no_video_is_in_two_folds():
    found = folds.by_video(VIDEOS, CLASSES, 4)
    assert set(found) == {0, 1, 2, 3}
    for video in set(VIDEOS):
        assert len(set(found[video == VIDEOS])) == 1


def test_every_fold_has_something_of_every_class():
    found = folds.by_video(VIDEOS, CLASSES, 4)
    for fold in range(4):
        assert 0 < CLASSES[found == fold].mean() < 1


def test_a_label_of_one_video_cannot_be_tried_on_others():
    with pytest.raises(ConfigError, match="1 label in one video only"):
        folds.by_video(np.array(["a", "a", "b", "c"]), np.array([0, 0, 1, 1]), 5)
    with pytest.raises(ConfigError, match="at least two videos"):
        folds.by_video(np.array(["a", "a"]), np.array([0, 0]), 5)


def test_a_clip_is_predicted_by_a_model_that_never_saw_its_video():
    found = folds.by_video(VIDEOS, CLASSES, 5)

    def fit(rows):
        seen = set(VIDEOS[rows])
        return lambda mine: np.array([VIDEOS[row] in seen for row in mine], float)

    assert not folds.out_of_fold(found, fit).any()
