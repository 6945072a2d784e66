"""Koala-36M's rules, against the text of its paper and its released constants; SSIM against its definition."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from hpc_curate.cutters.colour_structure import ColourStructure, ssim
from hpc_curate.measures import Series


def scored(scores):
    """A series of `scores` between frames, so one frame more."""
    pts = np.arange(len(scores) + 1)
    return Series(pts, pts / 25, {"score": np.array([2.9, *scores], np.float32)})


def pictures(seed):
    random = np.random.default_rng(seed)
    return (random.integers(0, 256, (2, 40, 50)) * random.random((2, 40, 50))).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_ssim_is_as_it_was_published(seed):
    one, other = pictures(seed)
    values = []
    for row in range(34):
        for column in range(44):
            x, y = (picture[row : row + 7, column : column + 7].astype(float).ravel() for picture in (one, other))
            (xx, xy), (_, yy) = np.cov(x, y)
            first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append(
                (2 * x.mean() * y.mean() + first)
                * (2 * xy + second)
                / ((x.mean() ** 2 + y.mean() ** 2 + first) * (xx + yy + second))
            )
    assert ssim(one, other) == pytest.approx(np.mean(values), abs=1e-6)
    assert ssim(one, one) == pytest.approx(1.0)


def test_frames_that_are_the_same_score_as_high_as_can_be(scan):
    still = np.random.default_rng(0).integers(0, 256, (1, 36, 64, 3), np.uint8).repeat(5, axis=0)
    highest = 4.61480465 + 3.75211168 - 5.485968377115124
    assert scan(ColourStructure(), still, Fraction(25)).values["score"] == pytest.approx([highest] * 5)


def test_a_score_below_zero_is_a_cut():
    assert ColourStructure(erode_frames=0).transitions(scored([2] * 20 + [-0.1] + [2] * 20)) == [(21, 21)]


def test_four_frames_are_lost_on_both_sides():
    assert ColourStructure().transitions(scored([2] * 20 + [-0.1] + [2] * 20)) == [(17, 25)]


def test_a_fall_below_what_was_usual_is_a_gradual_transition():
    cutter = ColourStructure(erode_frames=0)
    # Means of three: 0.4 at the two lowest pairs. The usual ones before them are 1.91 and 1.70, with 0.2 and 0.415 to
    # deviate by; at the pairs beside them the mean is 0.97 and above 0.75.
    assert cutter.transitions(scored([2] * 20 + [0.6, 0.3, 0.3, 0.6] + [2] * 20)) == [(22, 23)]
    assert cutter.transitions(scored([2] * 20 + [0.9] * 4 + [2] * 20)) == []


def test_the_eight_frames_before_must_be_there():
    assert ColourStructure(erode_frames=0).transitions(scored([2] * 6 + [0.3] * 2 + [2] * 20)) == []


@pytest.mark.parametrize("count", range(10))
def test_short_videos_have_none(count):
    assert ColourStructure().transitions(scored([2.0] * count)) == []


def test_the_ends_of_a_video_stay_within_it():
    assert ColourStructure().transitions(scored([-1] + [2] * 30 + [-1])) == [(0, 5), (28, 33)]


def test_hard_cuts_of_a_film_are_found(scan):
    random = np.random.default_rng(1)
    scenes = [cv2.resize(random.integers(0, 256, (5, 8, 3), np.uint8), (64, 36)) for _ in range(3)]
    film = np.concatenate([scene[None].repeat(40, axis=0) for scene in scenes])
    assert ColourStructure(erode_frames=0).transitions(scan(ColourStructure(), film, Fraction(25))) == [
        (40, 40),
        (80, 80),
    ]
