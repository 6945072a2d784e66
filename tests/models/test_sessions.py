import os
import subprocess
import sys

import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import efficientnet
from hpc_curate.models.sessions import in_batches, open_session, squashed
from hpc_curate.stage import Resources

onnxruntime = pytest.importorskip("onnxruntime")


def test_other_bytes_than_the_released_ones_are_refused(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(efficientnet.WEIGHTS.read_bytes() + b"x")
    with pytest.raises(ConfigError, match="not the file that was released"):
        open_session(path, Resources(), efficientnet.SHA256)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="absent.onnx: no such file"):
        open_session(tmp_path / "absent.onnx", Resources())


def test_no_session_reports_itself_to_anybody_or_writes_at_home(tmp_path):
    code = "from hpc_curate.models import efficientnet; from hpc_curate.stage import Resources; "
    # Without CI, where the library keeps quiet by itself.
    told = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-c", code + "efficientnet.load(Resources())"]
    subprocess.run(command, check=True, env={**told, "HOME": str(tmp_path)})
    assert list(tmp_path.rglob("*")) == []


def test_a_gpu_that_the_runtime_cannot_use_is_said_aloud(caplog):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    open_session(efficientnet.WEIGHTS, Resources(gpus=1))
    assert "runs on the processor" in caplog.text


def test_a_picture_is_squashed_whole():
    left_black = np.zeros((1, 40, 100, 3), np.uint8)
    left_black[:, :, 50:] = 255
    [small] = squashed(left_black, 10)
    assert small.shape == (10, 10, 3)
    assert small[:, :4].max() < 16
    assert small[:, 6:].min() > 239


def test_batches_are_joined_in_order():
    frames = np.arange(100, dtype=np.uint8)[:, None]
    seen = []

    def run(some):
        seen.append(len(some))
        return some.astype(np.float64)

    assert in_batches(run, frames)[:, 0].tolist() == list(range(100))
    assert max(seen) <= 32
