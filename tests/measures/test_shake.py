"""Shake of real pictures under a camera that moves by a known path."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from hpc_curate.measures import Facts, Frames
from hpc_curate.measures.shake import Shake, track

LONG, HIGH, MARGIN = 560, 280, 40
FACTS = Facts(LONG, HIGH, Fraction(25), Fraction(1, 25))
SECONDS = 4
TIMES = np.arange(25 * SECONDS) / 25
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="session")
def scene(footage):
    """A real picture: uint8 [360, 640, 3]."""
    video = cv2.VideoCapture(str(footage / "bbb.mp4"))
    video.set(cv2.CAP_PROP_POS_FRAMES, 70 * 24)
    return cv2.resize(video.read()[1], (640, 360), interpolation=cv2.INTER_AREA)


def filmed(scene, path):
    """Small frames of the picture seen from places on a path: [N, 2], pixels."""
    views = []
    for x, y in path:
        shift = np.array([[1, 0, -MARGIN - x], [0, 1, -MARGIN - y]], float)
        view = cv2.warpAffine(scene, shift, (LONG, HIGH), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        views.append(cv2.resize(view, (64, 32), interpolation=cv2.INTER_AREA))
    return Frames(np.stack(views), np.arange(len(views)), np.arange(len(views)) / 25)


def along(right, down=0.0):
    return np.column_stack(np.broadcast_arrays(right, down + 0 * TIMES))


def test_a_tremor_is_measured_in_long_sides(scene, whole):
    path = RANDOM.normal(0, 1.5, (len(TIMES), 2))
    # The mean length of a normal vector in two dimensions.
    expected = 1.5 * np.sqrt(np.pi / 2) / LONG
    assert whole(Shake(), FACTS, filmed(scene, path))["shake"] == pytest.approx(expected, rel=0.2)


def test_a_tremor_on_top_of_a_pan_is_the_same(scene, whole):
    path = RANDOM.normal(0, 1.5, (len(TIMES), 2))
    still, panned = (whole(Shake(), FACTS, filmed(scene, path + pan))["shake"] for pan in (0, along(15 * TIMES)))
    assert panned == pytest.approx(still, rel=0.25)


@pytest.mark.parametrize(
    "path",
    [along(0 * TIMES), along(15 * TIMES - 30), along(4 * TIMES**2 - 30, 2 * TIMES), along(4 * np.sin(np.pi * TIMES))],
    ids=["tripod", "pan", "a pan that speeds up", "a sway of two seconds"],
)
def test_a_smooth_path_is_no_shake(path, scene, whole):
    assert whole(Shake(), FACTS, filmed(scene, path))["shake"] < 0.0015


def test_a_subject_that_trembles_before_a_still_ground_is_no_shake(scene, whole):
    frames = filmed(scene, along(0 * TIMES))
    shaken = filmed(scene, RANDOM.normal(0, 5, (len(TIMES), 2)))
    frames.pixels[:, 8:30, 20:44] = shaken.pixels[:, 8:30, 20:44]
    assert whole(Shake(), FACTS, frames)["shake"] < 0.3 * whole(Shake(), FACTS, shaken)["shake"]


def test_steps_are_found_to_a_tenth_of_a_cell(scene):
    steps = RANDOM.uniform(-12, 12, (50, 2))  # pixels; up to 1.4 cells
    before = filmed(scene, np.zeros((50, 2))).luma().astype(np.float32)
    after = filmed(scene, steps).luma().astype(np.float32)
    # What the camera does to the right, the picture does to the left.
    assert np.median(np.abs(track(before, after) + steps * 64 / LONG)) < 0.1


def test_flat_pictures_cannot_be_tracked(whole):
    flat = np.full((len(TIMES), 32, 64, 3), 120, np.uint8)
    frames = Frames(flat, np.arange(len(TIMES)), TIMES)
    assert whole(Shake(), FACTS, frames)["shake"] is None


def test_a_clip_that_is_too_short_or_too_slow_has_none(scene, whole):
    path = RANDOM.normal(0, 1.5, (len(TIMES), 2))
    frames = filmed(scene, path)
    short = Frames(frames.pixels[:30], frames.pts[:30], frames.times_s[:30])
    slow = Frames(frames.pixels, 2 * frames.pts, 2 * frames.times_s)
    assert whole(Shake(), FACTS, short)["shake"] is None
    assert whole(Shake(), FACTS, slow)["shake"] is None


@pytest.mark.parametrize("name", ["walking.mp4", "gymnast-1-1.mp4"])
def test_cameras_on_tripods_do_not_shake_whatever_people_do_before_them(name, footage, decoded, whole):
    assert whole(Shake(), *decoded(footage / name, seconds=3))["shake"] < 0.001
