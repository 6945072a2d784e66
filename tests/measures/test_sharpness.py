"""Sharpness falls with blur, and a sharp subject is found before a soft background."""

from fractions import Fraction

import cv2
import numpy as np

from hpc_curate.measures import Facts, Frames, Series
from hpc_curate.measures.sharpness import Sharpness
from hpc_curate.records import Span

FACTS = Facts(320, 180, Fraction(10), Fraction(1, 1000))
NOISE = np.random.default_rng(0).integers(0, 256, (180, 320), np.uint8)


def measured(luma, span=None):
    luma = np.stack(luma)
    pts = np.arange(len(luma)) * 500
    feeder = Sharpness().start(FACTS)
    feeder.feed(Frames(luma, pts, pts / 1000))
    series = Series(pts, pts / 1000, feeder.finish())
    return Sharpness().aggregate(series, span or Span(0, 500 * len(luma)), FACTS)


def blurred(sigma):
    return cv2.GaussianBlur(NOISE, (0, 0), sigma)


def test_it_is_the_variance_of_the_laplacian():
    wanted = cv2.Laplacian(NOISE, cv2.CV_64F).var()
    assert abs(measured([NOISE])["sharpness"] / wanted - 1) < 1e-6


def test_blur_lowers_it():
    values = [measured([blurred(sigma)])["sharpness"] for sigma in (0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True) and values[0] > 100 * values[-1]


def test_one_blurred_frame_does_not_sink_a_clip():
    assert measured([NOISE, blurred(4), NOISE]) == measured([NOISE])


def test_a_sharp_subject_before_a_soft_background_has_a_sharp_tile():
    picture = blurred(4)
    picture[45:90, 80:160] = NOISE[45:90, 80:160]
    columns = measured([picture])
    assert columns["sharpness_tile"] > 10 * columns["sharpness"]


def test_a_flat_picture_has_none():
    assert measured([np.full((180, 320), 90, np.uint8)]) == {"sharpness": 0.0, "sharpness_tile": 0.0}


def test_a_clip_between_two_sampled_frames_has_no_value():
    assert measured([NOISE, NOISE], Span(100, 400)) == {"sharpness": None, "sharpness_tile": None}
