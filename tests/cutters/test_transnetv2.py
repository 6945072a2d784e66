"""Windows and thresholds of TransNetV2; what the network itself sees is in tests/models."""

import cv2
import numpy as np
import pytest

from hpc_curate.cutters.transnetv2 import TransNetV2, Windows
from hpc_curate.measures import Frames, Series


def frames(levels):
    pixels = np.stack([np.full((36, 64, 3), level, np.uint8) for level in levels])
    pts = np.arange(len(pixels))
    return Frames(pixels, pts, pts / 25)


def fed(predict, levels, run):
    feeder = Windows(predict)
    for start in range(0, len(levels), run):
        feeder.feed(frames(levels[start : start + run]))
    return feeder.finish()["probability"]


def first_pixel(window):
    """A network that one can do in one's head: the answer is the frame."""
    assert window.shape == (100, 27, 48, 3) and window.dtype == np.uint8
    return window[:, 0, 0, 0]


@pytest.mark.parametrize("count", [1, 24, 25, 49, 50, 51, 100, 101, 230])
@pytest.mark.parametrize("run", [1, 7, 64, 300])
def test_every_frame_is_answered_once_and_in_order(count, run):
    levels = list(range(count))
    assert fed(first_pixel, levels, run).tolist() == levels


def test_the_ends_are_padded_with_the_first_and_the_last_frame():
    seen = []
    fed(lambda window: seen.append(window[:, 0, 0, 0].tolist()) or window[:, 0, 0, 0], [5, 6, 7], 2)
    assert seen == [[5] * 26 + [6] + [7] * 73]


def test_an_empty_video_has_an_empty_series():
    assert Windows(first_pixel).finish()["probability"].shape == (0,)


def test_frames_are_shrunk_by_area_averaging():
    picture = np.random.default_rng(0).integers(0, 256, (36, 64, 3), np.uint8)
    seen = []
    feeder = Windows(lambda window: seen.append(window[50]) or np.zeros(100))
    feeder.feed(Frames(picture[None], np.zeros(1, np.int64), np.zeros(1)))
    feeder.finish()
    assert np.array_equal(seen[0], cv2.resize(picture, (48, 27), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    ("probability", "transitions"),
    [
        ([0, 0, 1, 0, 0], [(3, 3)]),  # the frame before a hard cut is the one that is marked
        ([0, 0, 1, 1, 1, 0], [(3, 5)]),  # a gradual one
        ([1, 1, 0, 0], [(0, 2)]),
        ([0, 0, 1, 1], [(3, 4)]),
        ([0, 0.5, 0], []),
        ([1, 1, 1], []),
        ([], []),
    ],
)
def test_runs_above_the_threshold_are_transitions(probability, transitions):
    pts = np.arange(len(probability))
    series = Series(pts, pts / 25, {"probability": np.array(probability, np.float32)})
    assert TransNetV2().transitions(series) == transitions
