import time

import numpy as np

from hpc_curate.clips.keepers import Quota, resolve


def edges(*pairs):
    a, b, similarity = zip(*pairs, strict=True) if pairs else ((), (), ())
    return np.array(a, np.int64), np.array(b, np.int64), np.array(similarity, np.float32)


def test_a_clip_is_dropped_for_a_better_one():
    kept, by, _ = resolve(np.array([2, 0, 1]), edges((0, 2, 0.97)), 0.95)
    assert kept.tolist() == [False, True, True]
    assert by.tolist() == [2, -1, -1]


def test_a_dropped_clip_drops_nobody():
    # 0 - 1 - 2 is a chain: 0 drops 1, and 2, which looks like 1 only, stays.
    kept, _, _ = resolve(np.array([0, 1, 2]), edges((0, 1, 0.99), (2, 1, 0.99)), 0.95)
    assert kept.tolist() == [True, False, True]


def test_the_second_best_is_kept_when_the_best_did_not_survive():
    kept, by, _ = resolve(np.array([1, 2]), edges((0, 1, 0.99), (0, 2, 0.99), (1, 2, 0.99)), 0.95, count=3)
    assert kept.tolist() == [False, True, False]
    assert by.tolist() == [-1, -1, 1]


def test_edges_below_the_threshold_do_not_count_and_equal_ones_do():
    kept, _, _ = resolve(np.array([0, 1, 2]), edges((0, 1, 0.949), (0, 2, 0.95)), 0.95)
    assert kept.tolist() == [True, True, False]


def test_the_best_ranked_keeper_stands_for_a_clip_with_several():
    _, by, _ = resolve(np.array([3, 1, 0]), edges((0, 1, 0.99), (0, 3, 0.96)), 0.95, count=4)
    assert by.tolist() == [3, -1, -1, -1]


def test_the_order_of_the_edges_does_not_matter():
    random = np.random.default_rng(1)
    a, b = random.integers(0, 300, (2, 2000))
    similarity = random.random(2000).astype(np.float32)
    order, shuffle = random.permutation(300), random.permutation(2000)
    first = resolve(order, (a, b, similarity), 0.5)
    second = resolve(order, (b[shuffle], a[shuffle], similarity[shuffle]), 0.5)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_nothing_in_nothing_out():
    kept, by, _ = resolve(np.array([], np.int64), edges(), 0.9)
    assert len(kept) == len(by) == 0


def test_a_million_clips_and_five_million_edges_take_seconds():
    random = np.random.default_rng(2)
    a, b = random.integers(0, 1_000_000, (2, 5_000_000))
    began = time.process_time()
    kept, by, _ = resolve(random.permutation(1_000_000), (a, b, np.ones(len(a), np.float32)), 0.9)
    assert time.process_time() - began < 60
    assert ((by >= 0) == ~kept).all()
    assert kept[by[by >= 0]].all()


def quota(most, *groups):
    return Quota(np.array(groups, np.int64), most)


def test_of_each_group_the_best_are_kept_and_a_clip_of_none_is_never_over():
    order = np.array([3, 0, 1, 2, 4])
    kept, by, over = resolve(order, edges(), 0.95, quotas=[quota(1, 0, 0, 1, 0, -1)])
    assert kept.tolist() == [False, False, True, True, True]
    assert over.tolist() == [0, 0, -1, -1, -1]
    assert (by == -1).all()


def test_a_clip_over_one_quota_takes_no_place_in_another():
    # 1 is over the first quota, so the only place of group 7 of the second is still free for 2.
    kept, _, over = resolve(np.arange(3), edges(), 0.95, quotas=[quota(1, 0, 0, 1), quota(1, 0, 7, 7)])
    assert kept.tolist() == [True, False, True]
    assert over.tolist() == [-1, 0, -1]
    # The other way round it is the second quota that says no.
    _, _, over = resolve(np.arange(3), edges(), 0.95, quotas=[quota(2, 0, 0, 0), quota(1, 0, 0, 1)])
    assert over.tolist() == [-1, 1, -1]


def test_a_duplicate_takes_no_place_and_a_clip_over_its_quota_drops_nobody():
    # 1 is a duplicate of 0: the second place of the group is for 2. 3 is over, so its duplicate 4 is kept.
    groups = quota(2, 0, 0, 0, 0, 1)
    kept, by, over = resolve(np.arange(5), edges((0, 1, 0.99), (3, 4, 0.99)), 0.95, quotas=[groups])
    assert kept.tolist() == [True, False, True, False, True]
    assert by.tolist() == [-1, 0, -1, -1, -1]
    assert over.tolist() == [-1, -1, -1, 0, -1]
