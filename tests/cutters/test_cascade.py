"""The network is asked about windows in which something happens, and about no others."""

import numpy as np
import pytest

from hpc_curate.cutters.cascade import Cascade
from hpc_curate.cutters.transnetv2 import Windows
from hpc_curate.measures import Frames, Series

RANDOM = np.random.default_rng(0)
A, B = (RANDOM.integers(0, 256, (1, 27, 48, 3), np.uint8) for _ in range(2))


def fed(predict, film):
    feeder = Windows(predict)
    pts = np.arange(len(film))
    for part in np.array_split(pts, 5):
        feeder.feed(Frames(film[part], part, part / 25))
    return feeder.finish()["probability"]


def everywhere(window):
    return np.ones(len(window), np.float32)


def film(changes, count=400):
    """Pictures A and B in turn."""
    shown = np.searchsorted(changes, np.arange(count), side="right") % 2
    return np.concatenate([A, B])[shown]


def test_only_blocks_with_a_change_are_judged():
    judged = ~np.isnan(fed(Cascade().judge(everywhere), film([120, 320])))
    assert judged.tolist() == [100 <= index < 150 or 300 <= index < 350 for index in range(400)]


@pytest.mark.parametrize("cut", [50, 99, 100, 101, 125, 149, 150, 151])
def test_the_frames_around_a_cut_are_judged_wherever_blocks_end(cut):
    judged = ~np.isnan(fed(Cascade().judge(everywhere), film([cut], 250)))
    assert judged[cut - 1 : cut + 1].all()


def test_a_dissolve_of_a_second_is_judged_from_end_to_end():
    weight = np.clip((np.arange(300) - 140) / 25, 0, 1)[:, None, None, None]
    judged = ~np.isnan(fed(Cascade().judge(everywhere), (A * (1 - weight) + B * weight).astype(np.uint8)))
    assert judged[140:166].all() and not judged[:90].any() and not judged[220:].any()


def test_a_still_picture_costs_nothing():
    def nobody(window):
        raise AssertionError("asked")

    assert np.isnan(fed(Cascade().judge(nobody), film([]))).all()


def test_what_is_judged_is_what_the_network_says():
    def seen(window):
        return window[:, 0, 0, 0] / np.float32(255)

    alone, judged = fed(seen, film([120, 320])), fed(Cascade().judge(seen), film([120, 320]))
    assert np.array_equal(judged[100:150], alone[100:150])


def test_what_was_not_judged_is_no_transition():
    probability = np.array([np.nan, np.nan, 0.1, 0.9, 0.1, np.nan], np.float32)
    pts = np.arange(6)
    assert Cascade().transitions(Series(pts, pts / 25, {"probability": probability})) == [(4, 4)]


def test_the_proposals_are_part_of_the_series():
    assert Cascade.series_settings == ("propose_change", "propose_directness")
