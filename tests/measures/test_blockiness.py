"""The grid of blocks is seen where there is one, and the score is the published one."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from hpc_curate.measures import Facts, Frames, Series
from hpc_curate.measures.blockiness import Blockiness
from hpc_curate.records import Span

FACTS = Facts(640, 272, Fraction(10), Fraction(1, 1000))


def measured(*lumas, span=None):
    pts = np.arange(len(lumas)) * 500
    feeder = Blockiness().start(FACTS)
    feeder.feed(Frames(np.stack(lumas), pts, pts / 1000))
    series = Series(pts, pts / 1000, feeder.finish())
    return Blockiness().aggregate(series, span or Span(0, 500 * len(lumas)), FACTS)


@pytest.fixture(scope="module")
def street(still):
    """A real picture without a grid: uint8 [272, 640]."""
    return cv2.cvtColor(still("bikes.mp4", 3), cv2.COLOR_RGB2GRAY)


def jpeg(luma, quality):
    return cv2.imdecode(cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def published(luma):
    """The paper's formulas (equations 1 to 8), as they are written there; constants of the authors' own program."""
    picture = luma.astype(float)
    features = []
    for x in (picture, picture.T):
        rows, columns = x.shape
        step = x[:, 1:] - x[:, :-1]
        blocks = columns // 8 - 1
        between = sum(abs(step[:, 8 * (j + 1) - 1]).sum() for j in range(blocks)) / (rows * blocks)
        within = (8 * abs(step).mean() - between) / 7
        crossing = (np.sign(step[:, :-1]) * np.sign(step[:, 1:]) < 0).mean()
        features.append((between, within, crossing))
    b, a, z = np.mean(features, axis=0)
    return b / a, -245.8909 + 261.9373 * b**-0.02398886 * a**0.01601664 * z**0.00642859


def test_it_is_the_published_score(street):
    for picture in (street, jpeg(street, 20), street[:101, :203]):
        ratio, quality = published(picture)
        assert measured(picture) == {
            "blockiness": pytest.approx(ratio, abs=1e-4),
            "jpeg_quality": pytest.approx(quality, abs=1e-3),
        }


def test_coarser_coding_shows_more_of_its_grid(street):
    found = [measured(jpeg(street, quality)) for quality in (90, 60, 30, 10)]
    ratios = [columns["blockiness"] for columns in found]
    scores = [columns["jpeg_quality"] for columns in found]
    assert ratios == sorted(ratios) and ratios[0] < 1.3 and ratios[-1] > 2.5
    assert scores == sorted(scores, reverse=True) and scores[0] > 8 and scores[-1] < 4


def test_a_grid_that_was_scaled_away_is_not_seen(street):
    scaled = cv2.resize(jpeg(street, 10), (500, 210), interpolation=cv2.INTER_AREA)
    assert measured(scaled)["blockiness"] < 1.1


def test_one_blocky_frame_does_not_sink_a_clip(street):
    assert measured(street, jpeg(street, 5), street) == measured(street)


def test_flat_and_tiny_pictures_have_none(street):
    none = {"blockiness": None, "jpeg_quality": None}
    assert measured(np.full((64, 64), 90, np.uint8)) == none
    assert measured(street[:15]) == none
    assert measured(np.zeros_like(street), street) == measured(street)


def test_a_clip_between_two_sampled_frames_has_no_value(street):
    assert measured(street, street, span=Span(100, 400)) == {"blockiness": None, "jpeg_quality": None}
