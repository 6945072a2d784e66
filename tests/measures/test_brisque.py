"""BRISQUE rises with damage, is blind to bars, and agrees with other implementations on real frames."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from hpc_curate.measures import Facts, Frames, Series
from hpc_curate.measures.brisque import Brisque
from hpc_curate.models import brisque
from hpc_curate.records import Span

FACTS = Facts(640, 360, Fraction(10), Fraction(1, 1000))


def measured(*lumas, span=None, one_in=1):
    feeder = Brisque(one_in).start(FACTS)
    for time, luma in enumerate(lumas):
        feeder.feed(Frames(luma[None], np.array([time * 500]), np.array([time * 0.5])))
    pts = np.arange(len(lumas)) * 500
    series = Series(pts, pts / 1000, feeder.finish())
    return Brisque().aggregate(series, span or Span(0, 500 * len(lumas)), FACTS)["brisque"]


@pytest.fixture(scope="module")
def face(still):
    """A sharp, real picture: uint8 [360, 640]."""
    return cv2.cvtColor(still("face.mp4", 5), cv2.COLOR_RGB2GRAY)


def jpeg(luma, quality):
    return cv2.imdecode(cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def noisy(luma, deviation):
    noise = np.random.default_rng(0).normal(0, deviation, luma.shape)
    return np.clip(luma + noise, 0, 255).astype(np.uint8)


def test_every_kind_of_damage_raises_it_the_more_the_worse(face):
    for damaged in (
        [cv2.GaussianBlur(face, (0, 0), sigma) for sigma in (1, 2, 4)],
        [noisy(face, deviation) for deviation in (5, 15, 40)],
        [jpeg(face, quality) for quality in (50, 20, 8)],
    ):
        scores = [measured(picture) for picture in (face, *damaged)]
        assert scores == sorted(scores) and scores[-1] > scores[0] + 40


# cv2.quality of opencv-contrib-python-headless 5.0.0.93: QualityBRISQUE_computeFeatures of the frame, scored with the
# support vectors that are used here; QualityBRISQUE.compute with the model of Debian's opencv-data 4.6.0, which was
# trained anew; and BRISQUE().score of the package brisque 0.2.0 (numpy 2.0.2), which takes what is outside for black.
REFERENCE = {
    ("bbb.mp4", 200): (55.33, 53.74, 57.98),
    ("bikes.mp4", 3): (58.41, 56.17, 61.53),
    ("city.mpg", 2): (37.10, 32.96, 38.39),
    ("face.mp4", 5): (9.65, 11.14, 10.36),
    ("gymnast-1-1.mp4", 1): (45.79, 45.35, 45.02),
    ("walking.mp4", 3): (36.80, 33.12, 36.89),
}


def test_it_agrees_with_the_implementations_of_others_on_real_frames(still):
    score = brisque.load()
    for (name, at_s), (same_vectors, opencv, package) in REFERENCE.items():
        found = score(cv2.cvtColor(still(name, at_s), cv2.COLOR_RGB2GRAY))
        assert found == pytest.approx(same_vectors, abs=2.5), name
        assert found == pytest.approx(opencv, abs=6.5), name
        assert found == pytest.approx(package, abs=2.5), name


def test_black_bars_change_nothing(face):
    boxed = cv2.copyMakeBorder(face, 60, 60, 90, 0, cv2.BORDER_CONSTANT, value=4)
    assert measured(boxed) == measured(face)


def test_one_damaged_frame_does_not_sink_a_clip(face):
    assert measured(face, jpeg(face, 5), face) == measured(face)


def test_one_frame_in_two_is_looked_at_across_runs_of_frames(face):
    damaged = jpeg(face, 5)
    assert measured(face, damaged, face, damaged, one_in=2) == measured(face)
    assert measured(face, damaged, face, span=Span(500, 600), one_in=2) is None


def test_frames_that_show_nothing_are_not_counted(face):
    black, grey = np.zeros_like(face), np.full_like(face, 128)
    assert measured(black, face, grey) == measured(face)
    assert measured(black, grey) is None


def test_a_clip_between_two_sampled_frames_has_no_value(face):
    assert measured(face, face, span=Span(100, 400)) is None


def test_the_support_vectors_are_part_of_what_the_series_depends_on():
    assert [path.name for path in Brisque().weights()] == ["svm.txt", "normalize.pickle"]
