import hashlib

import numpy as np
import pytest

from hpc_curate.models import efficientnet
from hpc_curate.stage import Resources

pytest.importorskip("onnxruntime")


def pictures(count, size=(90, 160)):
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def test_the_weights_are_small_and_those_that_were_released():
    content = efficientnet.WEIGHTS.read_bytes()
    assert len(content) <= 10_000_000
    assert hashlib.sha256(content).hexdigest() == efficientnet.SHA256


def test_their_licence_travels_with_them():
    text = efficientnet.WEIGHTS.with_suffix(".LICENSE").read_text()
    assert "Apache License" in text
    assert "ML Illustrated" in text


def test_features_do_not_depend_on_threads_or_on_what_goes_along():
    frames = pictures(40)
    together = efficientnet.load(Resources(cpus=2))(frames)
    alone = np.concatenate([efficientnet.load(Resources(cpus=1))(frames[i : i + 1]) for i in (0, 17, 39)])
    assert together.shape == (40, efficientnet.DIMENSIONS)
    assert np.array_equal(together[[0, 17, 39]], alone)


def test_a_red_picture_is_not_a_blue_one():
    red, blue = np.zeros((2, 1, 64, 64, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    features = efficientnet.load(Resources(cpus=1))
    assert not np.allclose(features(red), features(blue))
