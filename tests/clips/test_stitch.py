"""Cuts between pictures that are the same are undone; all others stay."""

import numpy as np

from hpc_curate.clips.stitch import stitched


def film(*runs):
    """Runs of (level, frames) at 10 frames a second: pictures float32 [N, 4] and their times."""
    levels = np.concatenate([np.full(frames, level) for level, frames in runs])
    return (levels[:, None] * np.ones(4)).astype(np.float32), np.arange(len(levels)) / 10


def test_a_cut_between_different_pictures_stays():
    assert stitched([(20, 20)], *film((10, 20), (40, 20)), below=29) == [(20, 20)]


def test_a_cut_between_like_pictures_goes():
    assert stitched([(20, 20)], *film((10, 20), (12, 20)), below=3) == []


def test_a_flash_counts_for_nothing():
    assert stitched([(20, 20)], *film((10, 20), (250, 2), (10, 20)), below=3) == []


def test_what_lies_beyond_the_neighbouring_transitions_is_not_looked_at():
    pictures, times_s = film((10, 20), (90, 2), (10, 20))
    assert stitched([(20, 20), (22, 22)], pictures, times_s, below=3) == [(20, 20), (22, 22)]


def test_a_shot_that_was_stitched_is_looked_at_as_a_whole():
    pictures, times_s = film((10, 20), (10, 1), (90, 20))
    assert stitched([(20, 20), (21, 21)], pictures, times_s, below=3) == [(21, 21)]


def test_a_gradual_transition_stays_whatever_it_joins():
    assert stitched([(20, 25)], *film((10, 45)), below=3) == [(20, 25)]


def test_a_cut_at_the_very_beginning_or_end_has_nothing_to_be_compared_with():
    assert stitched([(0, 0), (20, 20)], *film((10, 20)), below=3) == [(0, 0), (20, 20)]
