"""Shake of real pictures under a camera that moves by a known path."""

from fractions import Fraction

import numpy as np
import pytest

from hpc_curate.measures import Facts, Frames
from hpc_curate.measures.shake import Shake, track

LONG = 560
FACTS = Facts(LONG, 280, Fraction(25), Fraction(1, 25))
SECONDS = 4
TIMES = np.arange(25 * SECONDS) / 25
RANDOM = np.random.default_rng(0)


def along(right, down=0.0):
    return np.column_stack(np.broadcast_arrays(right, down + 0 * TIMES))


def test_a_tremor_is_measured_in_long_sides(filmed, whole):
    path = RANDOM.normal(0, 1.5, (len(TIMES), 2))
    # The mean length of a normal vector in two dimensions.
    expected = 1.5 * np.sqrt(np.pi / 2) / LONG
    assert whole(Shake(), FACTS, filmed(path))["shake"] == pytest.approx(expected, rel=0.2)


def test_a_tremor_on_top_of_a_pan_is_the_same(filmed, whole):
    path = RANDOM.normal(0, 1.5, (len(TIMES), 2))
    still, panned = (whole(Shake(), FACTS, filmed(path + pan))["shake"] for pan in (0, along(15 * TIMES)))
    assert panned == pytest.approx(still, rel=0.25)


@pytest.mark.parametrize(
    "path",
    [along(0 * TIMES), along(15 * TIMES - 30), along(4 * TIMES**2 - 30, 2 * TIMES), along(4 * np.sin(np.pi * TIMES))],
    ids=["tripod", "pan", "a pan that speeds up", "a sway of two seconds"],
)
def test_a_smooth_path_is_no_shake(path, filmed, whole):
    assert whole(Shake(), FACTS, filmed(path))["shake"] < 0.0015


def test_a_subject_that_trembles_before_a_still_ground_is_no_shake(filmed, whole):
    frames = filmed(along(0 * TIMES))
    shaken = filmed(RANDOM.normal(0, 5, (len(TIMES), 2)))
    frames.pixels[:, 8:30, 20:44] = shaken.pixels[:, 8:30, 20:44]
    assert whole(Shake(), FACTS, frames)["shake"] < 0.3 * whole(Shake(), FACTS, shaken)["shake"]


def test_steps_are_found_to_a_tenth_of_a_cell(filmed):
    steps = RANDOM.uniform(-12, 12, (50, 2))  # pixels; up to 1.4 cells
    before = filmed(np.zeros((50, 2))).luma().astype(np.float32)
    after = filmed(steps).luma().astype(np.float32)
    # What the camera does to the right, the picture does to the left.
    assert np.median(np.abs(track(before, after) + steps * 64 / LONG)) < 0.1


def test_flat_pictures_cannot_be_tracked(whole):
    flat = np.full((len(TIMES), 32, 64, 3), 120, np.uint8)
    frames = Frames(flat, np.arange(len(TIMES)), TIMES)
    assert whole(Shake(), FACTS, frames)["shake"] is None


def test_a_clip_that_is_too_short_or_too_slow_has_none(filmed, whole):
    path = RANDOM.normal(0, 1.5, (len(TIMES), 2))
    frames = filmed(path)
    short = Frames(frames.pixels[:30], frames.pts[:30], frames.times_s[:30])
    slow = Frames(frames.pixels, 2 * frames.pts, 2 * frames.times_s)
    assert whole(Shake(), FACTS, short)["shake"] is None
    assert whole(Shake(), FACTS, slow)["shake"] is None


@pytest.mark.parametrize("name", ["walking.mp4", "gymnast-1-1.mp4"])
def test_cameras_on_tripods_do_not_shake_whatever_people_do_before_them(name, footage, decoded, whole):
    assert whole(Shake(), *decoded(footage / name, seconds=3))["shake"] < 0.001
