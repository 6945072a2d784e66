"""Koala-36M's detector: a support vector machine over colour and structure, and a test against the frames before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hpc_curate.cutters import Cutter
from hpc_curate.measures import Collector, Facts, Feeder, Frames, Series

# Of the released code. The support vector machine's features are the similarities of two frames that follow each other.
_COLOUR_WEIGHT, _STRUCTURE_WEIGHT, _BIAS = 4.61480465, 3.75211168, -5.485968377115124
_COLOUR_SIDE, _STRUCTURE_SIDE = 256, 128
_BINS = 254  # per channel, of the levels 1 to 254
_CANNY = (100, 200)
_SSIM_SIDE = 7
_SSIM_CONSTANTS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)


@dataclass(frozen=True)
class ColourStructure(Cutter):
    """Koala-36M's Color-Struct SVM (arXiv 2410.08260), with the constants of its released code.

    The series `score` is positive where two frames are alike: the correlation of their BGR histograms and the SSIM of
    their luma with Canny edges on top, weighted. Below 0 is a transition. Else one is where the mean of three scores is
    below `alike` and `deviations` standard deviations below the mean of the `window_frames` before, of which the lowest
    and highest fifth are left out. What is left between transitions loses `erode_frames` at each end.

    Published are the features, all constants and these rules; the paper measures them (recall 0.940, precision 0.755 on
    its own 10,000 clips). Not published are its training data and code. Two things differ here: the features are taken
    from small frames scaled up to the published sizes, where the authors scale whole ones down, so detail is missing
    that the weights were fitted to; and pieces of up to 8 frames, which the authors drop, are left to the length rule.
    """

    name: ClassVar[str] = "colour_structure"
    alike: float = 0.75
    window_frames: int = 8
    deviations: float = 3.0
    min_deviation: float = 0.2  # taken where the frames before deviate less
    erode_frames: int = 4

    def start(self, facts: Facts) -> Feeder:
        return Collector("score", _Scores())

    def transitions(self, series: Series) -> list[tuple[int, int]]:
        scores = series.values["score"].astype(np.float64)[1:]  # of the pairs of frames
        if not len(scores):
            return []
        changing = (scores < 0) | self._falls(scores)
        edges = np.diff(changing.astype(np.int8), prepend=0, append=0)
        found: list[tuple[int, int]] = []
        for first, after in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            end, start = int(first) + 1 - self.erode_frames, int(after) + self.erode_frames
            if found and end <= found[-1][1]:
                found[-1] = (found[-1][0], min(start, len(scores) + 1))
            else:
                found.append((max(end, 0), min(start, len(scores) + 1)))
        return found

    def _falls(self, scores: np.ndarray) -> np.ndarray:
        """bool [N]: far below what the pairs before had."""
        falls = np.zeros(len(scores), bool)
        window = self.window_frames
        if len(scores) <= window:
            return falls
        smooth = scores.copy()
        smooth[1:-1] = np.convolve(scores, np.full(3, 1 / 3), mode="valid")
        before = np.sort(np.lib.stride_tricks.sliding_window_view(smooth, window)[:-1], axis=1)
        usual = before[:, int(window * 0.2) : int(window * 0.8)]
        lowest = usual.mean(axis=1) - self.deviations * np.maximum(self.min_deviation, usual.std(axis=1))
        falls[window:] = (smooth[window:] < self.alike) & (smooth[window:] < lowest)
        return falls


@dataclass
class _Scores:
    """Similarity of each frame to the one before; the first of a video is as like it as can be."""

    last: tuple[np.ndarray, np.ndarray] | None = field(default=None)  # histograms and structure of the frame before

    def __call__(self, frames: Frames) -> np.ndarray:
        return np.array([self._next(picture) for picture in frames.pixels])

    def _next(self, picture: np.ndarray) -> float:
        import cv2

        histograms, structure = _features(picture)
        before, self.last = self.last or (histograms, structure), (histograms, structure)
        colour = cv2.compareHist(before[0], histograms, cv2.HISTCMP_CORREL)
        return _COLOUR_WEIGHT * colour + _STRUCTURE_WEIGHT * ssim(before[1], structure) + _BIAS


def _features(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Histograms, float32 [3 x 254], and luma with its edges, float32 [128, 128], of a picture uint8 [h, w, 3]."""
    import cv2

    scaled = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (_COLOUR_SIDE, _COLOUR_SIDE))
    histograms = [cv2.calcHist([scaled], [channel], None, [_BINS], [1, 255]) for channel in range(3)]
    luma = cv2.resize(cv2.cvtColor(scaled, cv2.COLOR_BGR2GRAY), (_STRUCTURE_SIDE, _STRUCTURE_SIDE))
    return np.concatenate(histograms), np.maximum(luma, cv2.Canny(luma, *_CANNY)).astype(np.float32)


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Mean structural similarity (Wang et al. 2004) of two float32 pictures with 255 levels, over flat 7 x 7 windows.

    Only windows that lie wholly inside count, and variances are unbiased, as in scikit-image's default.
    """
    import cv2

    def mean(values: np.ndarray) -> np.ndarray:
        whole = cv2.boxFilter(values, cv2.CV_64F, (_SSIM_SIDE, _SSIM_SIDE))
        border = _SSIM_SIDE // 2
        return whole[border:-border, border:-border]

    count = _SSIM_SIDE**2
    unbiased = count / (count - 1)
    mean_one, mean_other = mean(one), mean(other)
    variance_one = unbiased * (mean(one * one) - mean_one**2)
    variance_other = unbiased * (mean(other * other) - mean_other**2)
    covariance = unbiased * (mean(one * other) - mean_one * mean_other)
    first, second = _SSIM_CONSTANTS
    likeness = (2 * mean_one * mean_other + first) * (2 * covariance + second)
    return float((likeness / ((mean_one**2 + mean_other**2 + first) * (variance_one + variance_other + second))).mean())
