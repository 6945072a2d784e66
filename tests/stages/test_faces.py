import numpy as np
import pytest

from hpc_curate.stage import Clip, Resources
from hpc_curate.stages.faces import Faces

FACE = [0.25, 0.25, 0.75, 0.75, 0.9]
AT_THE_EDGE = [-0.5, 0.5, 0.1, 1.5, 0.8]


def as_many_as_the_grey_value_says(frame):
    return np.array([AT_THE_EDGE, FACE][: frame[0, 0, 0]], np.float32).reshape(-1, 5)


def clip(*greys):
    frames = np.stack([np.full((2, 3, 3), grey, np.uint8) for grey in greys])
    return Clip("", frames, np.arange(float(len(greys))))


def test_each_clip_gets_the_faces_of_its_own_frames():
    clips = [clip(0, 1, 2, 0), clip(0, 0), clip(1)]
    assert Faces().score(as_many_as_the_grey_value_says, clips) == [
        {"faces": 2, "face_share": 0.25, "face_frames_share": 0.5},
        {"faces": 0, "face_share": 0.0, "face_frames_share": 0.0},
        {"faces": 1, "face_share": 0.05, "face_frames_share": 1.0},
    ]


@pytest.mark.parametrize("model", ["short_range", "full_range"])
def test_a_real_face_is_found_and_a_street_without_one_has_none(model, still):
    stage = Faces(model=model)
    clips = [Clip("", still(name, at_s)[None], np.zeros(1)) for name, at_s in (("face.mp4", 5), ("city.mpg", 2))]
    face, street = stage.score(stage.load(Resources(cpus=1)), clips)
    assert face["faces"] == 1 and 0.15 < face["face_share"] < 0.3
    assert street["faces"] == 0
