"""SSCD copy-detection features from a local ONNX file.

Model: SSCD (Pizzi et al. 2022, arXiv 2202.10261), a network trained to tell edited copies of a picture from other
pictures. Nothing is shipped and nothing is fetched: give an export of your own.
Revision: the checksum of the file, which enters the signature of the stage. Two kinds of graph are understood:
input uint8 [N, H, W, 3] that normalises by itself, and input float32 [N, 3, H, W], which is given RGB with
ImageNet's mean and deviation, as the published networks expect. Where the graph leaves the size open it is 288.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpc_curate.errors import ConfigError
from hpc_curate.models.sessions import in_batches, open_session, squashed
from hpc_curate.stage import Resources

DIMENSIONS = 512
SIDE_PX = 288
NORMALISATION = "RGB, whole picture squared bicubic, by the graph or with ImageNet's mean and deviation"
_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255


def load(weights: Path, resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 [N, H, W, 3] to float32 [N, D].

    Raises:
        ConfigError: no such file, or a graph with another kind of input.
    """
    session = open_session(weights, resources)
    given = session.get_inputs()[0]
    if given.type == "tensor(uint8)":
        size, prepared = given.shape[1], squashed
    elif given.type == "tensor(float)":
        size, prepared = given.shape[2], _normalised
    else:
        raise ConfigError(f"weights {weights}: the input is {given.type}, expected uint8 NHWC or float32 NCHW pictures")
    side = size if isinstance(size, int) else SIDE_PX
    # A graph made for a fixed number of pictures is given one at a time.
    single = isinstance(given.shape[0], int)

    def run(some: np.ndarray) -> np.ndarray:
        pictures = prepared(some, side)
        if not single:
            return session.run(None, {given.name: pictures})[0]
        return np.concatenate([session.run(None, {given.name: picture[None]})[0] for picture in pictures])

    return lambda frames: in_batches(run, frames)


def _normalised(frames: np.ndarray, side: int) -> np.ndarray:
    pixels = (squashed(frames, side).astype(np.float32) - _MEAN) / _DEVIATION
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
