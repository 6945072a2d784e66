import hashlib

import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import efficientnet, sessions
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


def test_other_bytes_are_refused(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(efficientnet.WEIGHTS.read_bytes() + b"x")
    with pytest.raises(ConfigError, match="not the file that was released"):
        sessions.open_session(path, Resources(), efficientnet.SHA256)


def test_a_gpu_that_the_runtime_cannot_use_is_said_aloud(caplog):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    efficientnet.load(Resources(gpus=1))
    assert "runs on the processor" in caplog.text
