"""Blockiness: how much of the grid of 8 x 8 blocks that coding leaves is still to be seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Measure, Series
from hpc_curate.records import Span

_BLOCK = 8
# Fitted by the authors to human scores of JPEG pictures.
_ALPHA, _BETA = -245.8909, 261.9373
_BETWEEN, _WITHIN, _CROSSINGS = -0.02398886, 0.01601664, 0.00642859


@dataclass(frozen=True)
class Blockiness(Measure):
    """The features of Wang, Sheikh and Bovik (No-Reference Perceptual Quality Assessment of JPEG Compressed Images,
    ICIP 2002) on native luma, median over the sampled frames of a clip.

    They see the grid where a codec with blocks of 8 pixels drew it (MPEG-2, MPEG-4, MJPEG, H.264 without its
    deblocking filter), starting at the corner. After scaling or cropping by other than multiples of 8 the grid is lost,
    and they say nothing: a low value is no proof of quality.

    Columns, null where no native frame in the clip has any detail: `blockiness`, steps between blocks over steps within
    them (1: no grid; 4 digits); `jpeg_quality`, their score, about 1 (bad) to 10 (good) for JPEGs (3 digits).
    """

    name: ClassVar[str] = "blockiness"
    grid: ClassVar[str] = "native"
    columns: ClassVar[pa.Schema] = pa.schema([("blockiness", pa.float64()), ("jpeg_quality", pa.float64())])

    def start(self, facts: Facts) -> Feeder:
        return Collector("blockiness", lambda frames: np.array([_scored(luma) for luma in frames.luma()]))

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        values = series.within(span).values["blockiness"].reshape(-1, 2)
        values = values[~np.isnan(values).any(axis=1)].astype(np.float64)
        if not len(values):
            return dict.fromkeys(self.columns.names)
        ratio, quality = np.median(values, axis=0).tolist()
        return {"blockiness": round(ratio, 4), "jpeg_quality": round(quality, 3)}


def _scored(luma: np.ndarray) -> tuple[float, float]:
    """Steps between blocks over steps within, and the authors' score; NaN for a picture that is too small or flat."""
    if min(luma.shape) < 2 * _BLOCK:
        return math.nan, math.nan
    between, within, crossings = np.add(_steps(luma), _steps(luma.T.copy())) / 2
    if not min(between, within, crossings) > 0:
        return math.nan, math.nan
    return between / within, _ALPHA + _BETA * between**_BETWEEN * within**_WITHIN * crossings**_CROSSINGS


def _steps(luma: np.ndarray) -> np.ndarray:
    """Along the rows: the mean step between blocks and within them, and how often steps change sign: float64 [3]."""
    import cv2

    left, right = luma[:, :-1], luma[:, 1:]
    steps = cv2.absdiff(left, right)
    between = steps[:, _BLOCK - 1 : _BLOCK * (luma.shape[1] // _BLOCK - 1) : _BLOCK].mean()
    mean = cv2.mean(steps)[0]
    # The authors take one step in eight to lie between blocks.
    within = (_BLOCK * mean - between) / (_BLOCK - 1)
    up, down = cv2.compare(left, right, cv2.CMP_LT), cv2.compare(left, right, cv2.CMP_GT)
    turns = cv2.countNonZero(cv2.bitwise_and(up[:, :-1], down[:, 1:]))
    turns += cv2.countNonZero(cv2.bitwise_and(down[:, :-1], up[:, 1:]))
    return np.array([between, within, turns / (luma.shape[0] * (luma.shape[1] - 2))])
