"""The graphs are made here, with a single averaging layer: they stand for the two kinds of SSCD export."""

import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import sscd
from hpc_curate.stage import Resources

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


def averaging(path, kind, shape, axes):
    """A graph that casts to float32 and averages over `axes`: float32 [N, 3]."""
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["features"], axes=axes, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("image", getattr(types, kind), shape)]
    outputs = [helper.make_tensor_value_info("features", types.FLOAT, [None, 3])]
    graph = helper.make_graph(nodes, "averaging", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def frame(*colours):
    return np.stack([np.full((20, 30, 3), colour, np.uint8) for colour in colours])


def test_a_graph_of_bytes_gets_bytes(tmp_path):
    model = sscd.load(averaging(tmp_path / "m.onnx", "UINT8", ["n", "h", "w", 3], [1, 2]), Resources(cpus=1))
    assert model(frame((10, 20, 30), (1, 2, 3))).tolist() == [[10, 20, 30], [1, 2, 3]]


def test_a_graph_of_floats_gets_normalised_rgb_planes(tmp_path):
    model = sscd.load(averaging(tmp_path / "m.onnx", "FLOAT", ["n", 3, 64, 64], [2, 3]), Resources(cpus=1))
    [red] = model(frame((255, 0, 0)))
    assert red == pytest.approx([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=1e-4)


def test_a_graph_for_one_picture_is_given_one_at_a_time(tmp_path):
    model = sscd.load(averaging(tmp_path / "m.onnx", "UINT8", [1, 32, 32, 3], [1, 2]), Resources(cpus=1))
    assert model(frame((9, 9, 9), (7, 7, 7))).tolist() == [[9, 9, 9], [7, 7, 7]]


def test_another_kind_of_graph_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected uint8 NHWC or float32 NCHW"):
        sscd.load(averaging(tmp_path / "m.onnx", "INT64", ["n", 8, 8, 3], [1, 2]), Resources(cpus=1))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        sscd.load(tmp_path / "absent.onnx", Resources())
