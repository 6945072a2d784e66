"""Spans are exact in ticks, obey the rules, and no second of a video is lost on the way to the clips."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from hpc_curate.clips.spans import Rules, cut, united
from hpc_curate.errors import BadInput

SECOND = Fraction(1, 1000)
ANY = Rules(0.0, 1000.0, "split", 0.0, 0.0)


def spans(bounds, transitions, rules=ANY, base=SECOND):
    found = cut(np.asarray(bounds), transitions, rules, base)
    return [(span.start_pts, span.end_pts) for span in found.clips]


def test_a_clip_ends_where_the_next_shot_begins():
    assert spans(range(0, 6000, 1000), [(2, 2)]) == [(0, 2000), (2000, 5000)]


def test_the_frames_of_a_gradual_transition_belong_to_no_clip():
    found = cut(np.arange(0, 11000, 1000), [(3, 5)], ANY, SECOND)
    assert [(span.start_pts, span.end_pts) for span in found.clips] == [(0, 3000), (5000, 10000)]
    assert found.transition == 2000


def test_a_transition_at_the_very_start_or_end_makes_no_shot():
    assert spans(range(0, 6000, 1000), [(0, 2), (3, 5)]) == [(2000, 3000)]


def test_the_shortest_clip_may_be_exactly_that_long():
    rules = Rules(2.0, 1000.0, "split", 0.0, 0.0)
    assert spans([0, 1000, 2000, 3999], [(2, 2)], rules) == [(0, 2000)]


def test_rules_are_exact_in_ticks_that_no_float_can_hold():
    # 24000/1001: 48 frames last 2.002 s, 47 last 1.960 s; the rule 2.002 must keep 48.
    base = Fraction(1001, 24000)
    assert spans([0, 48, 95], [(1, 1)], Rules(2.002, 1000.0, "split", 0.0, 0.0), base) == [(0, 48)]


def test_trimming_keeps_whole_frames_inside():
    rules = Rules(0.0, 1000.0, "split", 0.25, 0.15)
    assert spans(range(0, 1001, 100), [], rules) == [(300, 800)]


def test_long_shots_are_split_evenly():
    rules = Rules(2.0, 20.0, "split", 0.0, 0.0)
    assert spans(range(0, 45001, 100), [], rules) == [(0, 15000), (15000, 30000), (30000, 45000)]


def test_long_shots_are_truncated():
    found = cut(np.arange(0, 45001, 100), [], Rules(2.0, 20.0, "truncate", 0.0, 0.0), SECOND)
    assert [(span.start_pts, span.end_pts) for span in found.clips] == [(0, 20000)]
    assert found.long_dropped == 25000


def test_long_shots_are_dropped():
    found = cut(np.arange(0, 45001, 100), [], Rules(2.0, 20.0, "drop", 0.0, 0.0), SECOND)
    assert (found.clips, found.long_dropped) == ([], 45000)


def test_a_frame_that_is_shown_too_long_is_no_clip():
    found = cut(np.array([0, 1000, 31000, 33000]), [], Rules(1.0, 20.0, "split", 0.0, 0.0), SECOND)
    assert [(span.start_pts, span.end_pts) for span in found.clips] == [(0, 1000), (31000, 33000)]
    assert found.long_dropped == 30000


@pytest.mark.parametrize(
    ("found", "whole"),
    [
        ([[(3, 3)], [(9, 9)]], [(3, 3), (9, 9)]),
        ([[(9, 9)], [(3, 5)]], [(3, 5), (9, 9)]),
        ([[(3, 3)], [(3, 3)]], [(3, 3)]),
        ([[(3, 8)], [(5, 5)]], [(3, 8)]),  # a hard cut within a gradual transition
        ([[(3, 8), (20, 22)], [(8, 8), (10, 20)]], [(3, 8), (10, 22)]),
        ([[], []], []),
    ],
)
def test_transitions_of_several_cutters_are_one_list(found, whole):
    assert united(found) == whole


def test_times_that_do_not_rise_are_bad_input():
    with pytest.raises(BadInput, match="rise"):
        spans([0, 100, 100, 200], [])


@pytest.mark.parametrize("longer", ["split", "truncate", "drop"])
@pytest.mark.parametrize("seed", range(40))
def test_any_video_obeys_any_rules_and_nothing_is_lost(seed, longer):
    random = np.random.default_rng([seed, len(longer)])
    base = [Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 24000), Fraction(1, 25)][seed % 4]
    frame = max(1, int(Fraction(1, 24) / base))
    gaps = random.integers(max(1, frame // 2), 2 * frame + 1, int(random.integers(1, 1500)))
    gaps[random.random(len(gaps)) < 0.003] *= 200  # a variable rate
    bounds = int(random.integers(-1000, 1000)) + np.concatenate([[0], np.cumsum(gaps)])
    edges = np.unique(random.integers(0, len(bounds), int(random.integers(0, 60))))
    edges = edges[: len(edges) // 2 * 2]
    transitions = [
        (int(end), int(end if random.random() < 0.5 else start))
        for end, start in zip(edges[::2], edges[1::2], strict=True)
    ]
    shortest = round(float(random.uniform(0, 3)), 2)
    rules = Rules(
        shortest, round(shortest + float(random.uniform(0.1, 8)), 2), longer, *random.choice([0, 0.1, 0.5], 2)
    )
    found = cut(bounds, transitions, rules, base)

    ticks = sum(span.end_pts - span.start_pts for span in found.clips)
    assert ticks + found.short + found.trimmed + found.long_dropped + found.transition == bounds[-1] - bounds[0]
    assert min(found.short, found.trimmed, found.long_dropped, found.transition) >= 0
    borders = set(bounds.tolist())
    for span in found.clips:
        length = (span.end_pts - span.start_pts) * base
        assert Fraction(str(rules.min_duration_s)) <= length <= Fraction(str(rules.max_duration_s))
        assert {span.start_pts, span.end_pts} <= borders
    assert all(left.end_pts <= right.start_pts for left, right in pairwise(found.clips))
    for end, start in transitions:  # one clip is one shot or a piece of one
        old, new = bounds[end], bounds[start]
        assert not [span for span in found.clips if span.start_pts < new and span.end_pts > old and old < new]
        assert not [span for span in found.clips if span.start_pts < old < span.end_pts]
