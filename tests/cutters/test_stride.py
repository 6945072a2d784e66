"""Boundaries at fixed times."""

import numpy as np
import pytest

from hpc_curate.cutters.stride import Stride
from hpc_curate.measures import Series


def at(times_s):
    times_s = np.round(np.asarray(times_s, float), 6)
    return Series(np.arange(len(times_s)), times_s, {})


def test_a_boundary_is_the_first_frame_of_a_stride():
    assert Stride(stride_s=1.0).transitions(at(np.arange(35) / 10)) == [(10, 10), (20, 20), (30, 30)]


@pytest.mark.parametrize("rate", [24000 / 1001, 30000 / 1001, 7, 29.97])
def test_every_piece_starts_within_a_frame_of_its_time(rate):
    times_s = np.arange(3000) / rate
    starts = [start for _, start in Stride(stride_s=2.0).transitions(at(times_s))]
    assert len(starts) == int(times_s[-1] // 2)
    late = times_s[starts] - 2.0 * np.arange(1, len(starts) + 1)
    assert late.min() > -1e-5 and late.max() < 1 / rate


def test_a_frame_that_is_due_is_not_late_by_rounding():
    assert Stride(stride_s=0.3).transitions(at([0, 0.1, 0.2, 0.1 + 0.2, 0.4, 0.5, 0.6])) == [(3, 3), (6, 6)]


def test_a_gap_over_several_strides_is_one_boundary():
    assert Stride(stride_s=1.0).transitions(at([0, 0.5, 7.2, 7.4])) == [(2, 2)]


def test_it_needs_no_frames():
    assert not Stride.needs_frames
