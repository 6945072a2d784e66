"""Exposure of frames whose brightness is known."""

from fractions import Fraction

import numpy as np
import pytest

from hpc_curate.measures import Facts, Frames, Series
from hpc_curate.measures.exposure import Exposure
from hpc_curate.records import Span

FACTS = Facts(1280, 720, Fraction(10), Fraction(1, 1000))


def measured(pixels, span=None, measure=None):
    """The columns over frames 100 ms apart."""
    measure = measure or Exposure()
    pts = np.arange(len(pixels)) * 100
    feeder = measure.start(FACTS)
    for part in np.array_split(np.arange(len(pixels)), 3):  # runs of frames, as scan hands them over
        feeder.feed(Frames(pixels[part], pts[part], pts[part] / 1000))
    series = Series(pts, pts / 1000, feeder.finish())
    return measure.aggregate(series, span or Span(0, len(pixels) * 100), FACTS)


def grey(*levels):
    return np.stack([np.full((36, 64, 3), level, np.uint8) for level in levels])


def test_the_mean_is_over_all_frames():
    assert measured(grey(10, 20, 60)) == {"luma_mean": 30.0, "luma_dark_share": 0.0, "luma_bright_share": 0.0}


def test_dark_and_bright_patches_are_counted():
    pixels = grey(128, 128, 128, 128)
    pixels[:, :9] = 0
    pixels[:2, 27:] = 255
    assert measured(pixels) | {"luma_mean": None} == {
        "luma_mean": None,
        "luma_dark_share": 0.25,
        "luma_bright_share": 0.125,
    }


def test_only_the_frames_of_the_clip_count():
    assert measured(grey(10, 20, 60, 200), Span(100, 300))["luma_mean"] == 40.0


def test_a_clip_without_frames_has_no_exposure():
    assert measured(grey(10, 20, 30), Span(5000, 6000))["luma_mean"] is None


def test_the_limits_are_settings_of_the_series():
    assert measured(grey(50, 50, 50), measure=Exposure(dark_below=51))["luma_dark_share"] == 1.0
    assert Exposure.series_settings == ("dark_below", "bright_above")


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)])
def test_colours_weigh_as_the_eye_sees_them(colour, luma):
    pixels = np.broadcast_to(np.array(colour, np.uint8), (3, 36, 64, 3)).copy()
    assert measured(pixels)["luma_mean"] == luma
