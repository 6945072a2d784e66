import itertools

import numpy as np
import pytest

from hpc_curate.clips.boxes import largest_free, overlap_shares, union_area, united

UNIT = np.array([0.0, 0.0, 1.0, 1.0])


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


def random_boxes(seed, count, cells=12):
    """Boxes whose edges lie on a grid, so that cells can be counted."""
    random = np.random.default_rng(seed)
    corners = np.sort(random.integers(0, cells + 1, (count, 2, 2)), axis=1)
    found = corners.reshape(count, 4).astype(float)
    return found[(found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])]


def painted(found, cells=12):
    taken = np.zeros((cells, cells), bool)
    for left, top, right, bottom in found.astype(int):
        taken[top:bottom, left:right] = True
    return taken


def test_what_two_boxes_share_by_side():
    shared, shorter, together = overlap_shares(boxes([0, 0, 4, 2]), boxes([1, 1, 9, 2], [5, 5, 6, 6]))
    assert shared.tolist() == [[[3, 1], [0, 0]]]
    assert shorter.tolist() == [[[4, 1], [1, 1]]]
    assert together.tolist() == [[[9, 2], [6, 6]]]


@pytest.mark.parametrize("seed", range(5))
def test_an_area_under_several_boxes_counts_once(seed):
    found = random_boxes(seed, 6)
    assert union_area(found) == painted(found).sum()
    assert union_area(boxes()) == 0


def test_boxes_that_touch_become_one_and_that_one_may_touch_others():
    found = boxes([0, 0, 1, 1], [3, 0, 4, 1], [1, 0.5, 3, 4], [8, 8, 9, 9])
    assert united(found).tolist() == [[0, 0, 4, 4], [8, 8, 9, 9]]
    assert united(found[::-1]).tolist() == united(found).tolist()
    assert united(boxes()).shape == (0, 4)


def test_a_logo_in_a_corner_costs_the_smaller_strip():
    assert largest_free(UNIT, boxes([0.8, 0.02, 0.98, 0.1])).tolist() == [0, 0.1, 1, 1]
    assert largest_free(UNIT, boxes()).tolist() == [0, 0, 1, 1]


def test_what_lies_outside_the_picture_costs_nothing():
    picture = np.array([0.0, 0.1, 1.0, 0.9])
    assert largest_free(picture, boxes([0, 0.92, 1, 1])).tolist() == picture.tolist()
    assert largest_free(picture, boxes([0.2, 0.8, 0.7, 1])).tolist() == [0, 0.1, 1, 0.8]


def test_nothing_is_left_under_a_box_over_all():
    left, top, right, bottom = largest_free(UNIT, boxes([0, 0, 1, 1]))
    assert (right - left) * (bottom - top) == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_free_box_is_larger(seed):
    found = random_boxes(seed, 5)
    taken = painted(found)
    edges = [pair for pair in itertools.combinations(range(13), 2)]
    best = max(
        ((bottom - top) * (right - left))
        for (left, right), (top, bottom) in itertools.product(edges, edges)
        if not taken[top:bottom, left:right].any()
    )
    left, top, right, bottom = largest_free(np.array([0.0, 0, 12, 12]), found)
    assert (right - left) * (bottom - top) == best
    assert not taken[int(top) : int(bottom), int(left) : int(right)].any()
