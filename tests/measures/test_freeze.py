"""Freeze: still stretches of known length."""

from fractions import Fraction

import numpy as np

from hpc_curate.measures import Facts, Frames, Series
from hpc_curate.measures.freeze import Freeze
from hpc_curate.records import Span

FACTS = Facts(1280, 720, Fraction(10), Fraction(1, 1000))


def measured(levels, span=None, measure=None, pts=None):
    """Frames of one grey each, 100 ms apart unless said otherwise."""
    measure = measure or Freeze()
    pts = np.arange(len(levels)) * 100 if pts is None else np.array(pts)
    pixels = np.stack([np.full((36, 64, 3), level, np.uint8) for level in levels])
    feeder = measure.start(FACTS)
    for part in np.array_split(np.arange(len(levels)), 4):
        feeder.feed(Frames(pixels[part], pts[part], pts[part] / 1000))
    series = Series(pts, pts / 1000, feeder.finish())
    return measure.aggregate(series, span or Span(0, int(pts[-1]) + 100), FACTS)


def test_a_still_picture_is_frozen_throughout():
    assert measured([90] * 20) == {"freeze_share": 1.0, "freeze_longest_s": 2.0, "freeze_stills": 1}


def test_a_moving_picture_is_not():
    assert measured(range(0, 200, 10)) == {"freeze_share": 0.0, "freeze_longest_s": 0.0, "freeze_stills": 0}


def test_a_slow_drift_is_not_still():
    # One level a frame: each frame looks like the one before, but not like the start of the stretch.
    assert measured(range(100, 140))["freeze_share"] == 0.0


def test_half_a_clip_may_be_frozen():
    assert measured([*range(0, 100, 10), *[200] * 10]) == {
        "freeze_share": 0.5,
        "freeze_longest_s": 1.0,
        "freeze_stills": 1,
    }


def test_slides_are_frozen_though_they_change():
    columns = measured([10] * 10 + [80] * 10 + [200] * 10)
    assert columns == {"freeze_share": 1.0, "freeze_longest_s": 1.0, "freeze_stills": 3}


def test_animation_that_repeats_frames_is_not_frozen():
    assert measured(np.repeat(np.arange(0, 200, 20), 3))["freeze_share"] == 0.0


def test_a_small_moving_part_is_enough_to_be_alive():
    pixels = np.full((20, 36, 64, 3), 90, np.uint8)
    pixels[::2, 18, 30] = 120
    pts = np.arange(20) * 100
    feeder = Freeze().start(FACTS)
    feeder.feed(Frames(pixels, pts, pts / 1000))
    assert Freeze().aggregate(Series(pts, pts / 1000, feeder.finish()), Span(0, 2000), FACTS)["freeze_share"] == 0.0


def test_a_clip_that_starts_inside_a_still_stretch_counts_its_own_part():
    assert measured([50] * 20, Span(1000, 2000)) == {"freeze_share": 1.0, "freeze_longest_s": 1.0, "freeze_stills": 1}


def test_a_frame_that_is_shown_for_long_is_still():
    assert measured([10, 60, 110], pts=[0, 100, 200], span=Span(0, 3200))["freeze_longest_s"] == 3.0
