"""Motion of pictures that move by a known amount."""

from fractions import Fraction

import cv2
import numpy as np
import pyarrow as pa
import pytest
import yaml

from hpc_curate.clips import rules
from hpc_curate.config import conf_dir
from hpc_curate.measures import Facts, Frames, Series
from hpc_curate.measures.freeze import Freeze
from hpc_curate.measures.motion import Motion, fit_similarity
from hpc_curate.measures.shake import Shake
from hpc_curate.records import Span

FACTS = Facts(1280, 720, Fraction(20), Fraction(1, 1000))
WORLD = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8), (0, 0), 2)
WORLD = cv2.normalize(WORLD, None, 0, 255, cv2.NORM_MINMAX)


def view(x, y=0.0):
    """64 x 36 cells of a random world, from a place between its pixels."""
    return cv2.warpAffine(WORLD, np.array([[1, 0, -100.0 - x], [0, 1, -100.0 - y]]), (64, 36), flags=cv2.INTER_LINEAR)


def measured(pixels, step_ms=50, span=None, facts=FACTS, measure=None):
    measure = measure or Motion()
    pixels = np.stack(pixels)
    pts = np.arange(len(pixels)) * step_ms
    feeder = measure.start(facts)
    for part in np.array_split(np.arange(len(pixels)), 5):
        feeder.feed(Frames(pixels[part], pts[part], pts[part] / 1000))
    series = Series(pts, pts / 1000, feeder.finish())
    return measure.aggregate(series, span or Span(0, len(pixels) * step_ms), facts)


def test_a_pan_is_measured_in_long_sides_per_second_and_is_the_cameras():
    # 0.4 of 64 cells a frame, 20 frames a second: an eighth of the width in a second.
    columns = measured([view(0.4 * index) for index in range(60)])
    assert columns["motion"] == pytest.approx(0.125, rel=0.1)
    assert columns["motion_camera"] == pytest.approx(0.125, rel=0.1)
    assert columns["motion_local"] < 0.015
    assert columns["motion_still_share"] == 0.0


def test_the_frame_rate_does_not_matter():
    every = measured([view(0.4 * index) for index in range(60)], step_ms=50)
    second = measured([view(0.8 * index) for index in range(30)], step_ms=100)
    assert second["motion"] == pytest.approx(every["motion"], rel=0.05)


def test_an_upright_picture_is_measured_by_its_height():
    pixels = [view(0, 0.4 * index) for index in range(60)]  # 8 of 36 cells a second
    upright = Facts(720, 1280, Fraction(20), Fraction(1, 1000))
    assert measured(pixels, facts=upright)["motion"] == pytest.approx(8 / 36, rel=0.15)


def test_a_still_picture_does_not_move():
    columns = measured([view(0)] * 40)
    assert columns["motion"] < 0.001 and columns["motion_still_share"] == 1.0


def test_an_object_before_a_still_background_is_local():
    pixels = []
    for index in range(40):
        picture = view(0)
        picture[12:24, 20:40] = view(60 + 0.4 * index)[12:24, 20:40]
        pixels.append(picture)
    columns = measured(pixels)
    assert columns["motion_local"] > 3 * columns["motion_camera"]


def test_what_happens_at_the_cut_before_the_clip_is_not_its_motion():
    pixels = [view(0)] * 20 + [view(150, 90)] * 40
    assert measured(pixels, span=Span(1000, 3000))["motion_max"] < 0.001
    assert measured(pixels)["motion_max"] > 0.05


def test_a_clip_with_fewer_than_two_looks_has_no_motion():
    assert set(measured([view(0)] * 40, span=Span(300, 450)).values()) == {None}


def test_cells_are_looked_at_at_the_stated_rate_only():
    feeder = Motion(rate_hz=4).start(FACTS)
    pts = np.arange(40) * 50
    feeder.feed(Frames(np.stack([view(0)] * 40), pts, pts / 1000))
    looks = np.flatnonzero(~np.isnan(feeder.finish()["flow"][:, 0]))
    assert looks.tolist() == [0, 5, 10, 15, 20, 25, 30, 35]


def test_the_fit_finds_shift_zoom_and_turn_though_a_third_moves_otherwise():
    positions = np.random.default_rng(1).uniform(-0.5, 0.5, (900, 2))
    camera = np.array([0.02, -0.01]) + positions @ np.array([[0.05, 0.03], [-0.03, 0.05]])
    moved = camera.copy()
    moved[:300] += [0.3, 0.2]
    assert np.abs(fit_similarity(positions, moved) - camera).max() < 0.1 * np.abs(moved[:300] - camera[:300]).max()
    assert np.allclose(fit_similarity(positions, camera), camera)


@pytest.mark.parametrize("shape", [(8, 64), (64, 8), (64, 64)], ids=str)
def test_any_shape_of_small_frames_is_taken(shape):
    pixels = np.random.default_rng(2).integers(0, 256, (3, *shape, 3), np.uint8)
    facts = Facts(shape[1] * 20, shape[0] * 20, Fraction(20), Fraction(1, 1000))
    assert measured(pixels, step_ms=300, facts=facts)["motion"] > 0


def test_pictures_that_are_replaced_leave_a_residual_and_pictures_that_move_do_not():
    random = np.random.default_rng(3)
    replaced = [view(*random.uniform(-90, 90, 2)) for _ in range(60)]
    moved = [view(0.4 * index) for index in range(60)]
    assert measured(replaced)["motion_residual"] > 5 * measured(moved)["motion_residual"]
    assert measured([view(0)] * 60)["motion_residual"] < 0.5


@pytest.mark.parametrize("name", ["walking.mp4", "face.mp4", "gymnast-1-1.mp4", "bikes.mp4"])
def test_the_unit_is_that_of_a_flow_of_more_pixels_within_a_factor_of_two(name, footage, decoded, whole):
    facts, small = decoded(footage / name, seconds=3)
    _, large = decoded(footage / name, 320, 3)
    slots = np.flatnonzero(np.diff(np.floor(large.times_s * 4 + 1e-4), prepend=-1))
    luma = large.luma()
    speeds = []
    for first, second in zip(slots[1:], slots[2:], strict=False):
        flow = cv2.calcOpticalFlowFarneback(luma[first], luma[second], None, 0.5, 3, 15, 3, 5, 1.2, 0)
        pixels = np.hypot(flow[..., 0], flow[..., 1]).mean()
        speeds.append(pixels / 320 / (large.times_s[second] - large.times_s[first]))
    assert 0.8 < whole(Motion(), facts, small)["motion"] / np.mean(speeds) < 2.3


def judged(columns):
    """The rules of select=full on these columns that reject a clip."""
    stated = {}
    for name in ("default", "full"):
        stated |= yaml.safe_load((conf_dir() / "select" / f"{name}.yaml").read_text())["rules"]
    known = {name: rule for name, rule in stated.items() if name in columns}
    table = pa.Table.from_pylist([{"clip_id": "a", **columns}])
    [verdict] = rules.apply(rules.parse(known, percentiles=True), table).to_pylist()
    return {reason.split()[0] for reason in verdict["reasons"]}


def test_static_slides_shaken_and_chaotic_are_told_apart_and_a_pan_is_kept(filmed, footage, decoded, whole):
    times, random = np.arange(100) / 25, np.random.default_rng(4)
    still, facts = np.zeros((100, 2)), Facts(560, 280, Fraction(25), Fraction(1, 25))
    street_facts, street = decoded(footage / "bikes.mp4", seconds=10)
    order = random.permutation(len(street.pts))
    clips = {
        "static": (facts, filmed(still)),
        "slides": (facts, filmed(np.repeat(random.uniform(-40, 40, (4, 2)), 25, axis=0))),
        "shaken": (facts, filmed(random.normal(0, 8, (100, 2)))),
        "chaotic": (street_facts, Frames(street.pixels[order], street.pts, street.times_s)),
        "pan": (facts, filmed(np.stack([15 * times - 30, 0 * times], axis=1))),
    }
    found = {}
    for name, clip in clips.items():
        columns = {}
        for measure in (Motion(), Freeze(), Shake()):
            columns |= whole(measure, *clip)
        found[name] = (judged(columns), columns["freeze_stills"])
    assert found["static"] == ({"motion", "freeze_share"}, 1)
    assert found["slides"][0] >= {"freeze_share"} and found["slides"][1] == 4
    assert found["shaken"] == ({"shake"}, 0)
    assert found["chaotic"][0] >= {"motion_residual"} and found["chaotic"][1] == 0
    assert found["pan"] == (set(), 0)
