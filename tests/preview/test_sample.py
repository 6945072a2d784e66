import numpy as np

from hpc_curate.preview import sample


def test_a_seed_is_an_order_and_another_seed_another():
    orders = [sample.order([""] * 50, seed).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(50))


def test_strata_take_turns_and_a_small_one_does_not_hold_up_the_rest():
    strata = ["common"] * 90 + ["rare"] * 3
    first = [strata[at] for at in sample.order(strata, seed=7)]
    assert first[:6] == ["common", "rare"] * 3
    assert first[6:] == ["common"] * 87


def test_values_fall_into_fifths_and_none_has_a_place_of_its_own():
    names = sample.quantiles(np.array([*range(100), np.nan], np.float64))
    assert names[-1] == "none"
    assert [names.count(name) for name in dict.fromkeys(names)] == [20, 20, 20, 20, 20, 1]
    assert sample.quantiles(np.array([np.nan])) == ["none"]
