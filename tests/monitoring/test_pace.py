"""How fast, and how long still."""

from __future__ import annotations

import pytest

from hpc_curate.monitoring import pace


def test_the_time_between_two_runs_is_no_time_at_work() -> None:
    assert pace.covered_s([(0, 10), (5, 15), (1000, 1010), (1002, 1004)]) == 25
    assert pace.covered_s([]) == 0


def test_units_side_by_side_go_faster_than_one_after_another() -> None:
    beside = pace.measure([(0, 10), (0, 10)], done=2, shares=[])
    after = pace.measure([(0, 10), (10, 20)], done=2, shares=[])
    assert (beside.units_per_s, after.units_per_s) == (0.2, 0.1)
    assert (beside.left_s(10), after.left_s(10)) == (50, 100)


def test_half_of_a_unit_at_work_says_how_long_the_rest_takes() -> None:
    first = pace.measure([(0, 60)], done=0, shares=[pace.share(6, 12, 60, None)])
    assert first.left_s(1 - 0.5) == pytest.approx(60)


def test_of_what_has_not_begun_nothing_is_known() -> None:
    assert pace.measure([], done=0, shares=[]).left_s(5) is None
    assert pace.measure([(0, 60)], done=0, shares=[pace.share(0, 0, 60, None)]).units_per_s is None


def test_a_unit_that_takes_longer_than_others_is_never_called_whole() -> None:
    assert pace.share(0, 1, 30, 60) == 0.5
    assert pace.share(0, 1, 600, 60) < 1
