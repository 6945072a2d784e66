"""What rules cost, on tables small enough to count by eye, and against rules that are applied again."""

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.clips import rules, thresholds
from hpc_curate.clips.thresholds import Bound, Effect

SETTINGS = {
    "motion": {"min": 1, "max": 5},
    "codec": {"forbidden": ["gif"]},
    "sharpness": {"min_percentile": 25, "missing": "keep"},
}


def judged(table, settings=SETTINGS, filter="select"):
    """A table as a filter has left it, and its verdicts."""
    known = rules.parse(settings, percentiles=True)
    found = rules.apply(known, table)
    return thresholds.Verdicts(filter, known, table, found["reason"], found["reasons"])


def clips(**columns):
    count = len(next(iter(columns.values())))
    return pa.table({"clip_id": [f"clip{number}" for number in range(count)], **columns})


def random_clips(count=500):
    random = np.random.default_rng(3)
    missing = random.random(count) < 0.1
    return clips(
        motion=pa.array(random.random(count).round(2) * 8, mask=random.random(count) < 0.05),
        codec=random.choice(["gif", "h264"], count, p=[0.2, 0.8]),
        sharpness=pa.array(random.random(count), mask=missing),
    )


def test_a_reason_is_counted_alone_first_and_in_total():
    table = clips(motion=[0.5, 0.5, 3.0, 9.0, 3.0], codec=["h264", "gif", "gif", "gif", "h264"])
    found = thresholds.effects(judged(table, {"motion": {"min": 1, "max": 5}, "codec": {"forbidden": ["gif"]}}))
    assert found.schema == thresholds.EFFECTS
    counts = {row["reason"]: (row["clips"], row["first"], row["alone"]) for row in found.to_pylist()}
    assert counts == {
        "motion missing": (0, 0, 0),
        "motion below 1": (2, 2, 1),
        "motion above 5": (1, 1, 0),
        "codec missing": (0, 0, 0),
        "codec forbidden": (3, 1, 1),
    }
    assert found["judged"].to_pylist() == [5] * 5


def test_verdicts_of_gate_and_select_are_told_apart_and_failed_clips_were_not_judged():
    table = clips(
        gate_keep=[False, True, True, None],
        gate_reason=["fps below 10", None, None, None],
        gate_reasons=[["fps below 10"], [], [], None],
        state=["rejected", "rejected", "failed", "rejected"],
        reason=["fps below 10", "fps below 16", None, "duplicate"],
        reasons=[["fps below 10"], ["fps below 16"], [], ["duplicate"]],
    )
    ten, sixteen = (rules.parse({"fps": {"min": least}}, percentiles=False) for least in (10, 16))
    gate, select = thresholds.verdicts(table, ten, sixteen)
    assert (gate.filter, gate.clips["clip_id"].to_pylist()) == ("gate", ["clip0", "clip1", "clip2"])
    assert (select.filter, select.clips["clip_id"].to_pylist()) == ("select", ["clip1", "clip3"])
    assert select.hits.tolist() == [1, 0]  # no rule rejects the duplicate
    assert thresholds.verdicts(table.select(["clip_id"]), ten, sixteen) == []


def test_selections_stand_side_by_side_by_what_is_looked_at_and_not_by_the_threshold():
    table = clips(motion=[0.5, 2.0, 9.0])
    found = [thresholds.effects(judged(table, {"motion": {"min": least}})) for least in (1, 1e-7)]
    assert thresholds.side_by_side(found) == {
        ("select", "motion missing"): [Effect("", 0, 0, 0), Effect("", 0, 0, 0)],
        ("select", "motion below"): [Effect("1", 1, 1, 1), Effect("1e-07", 0, 0, 0)],
    }
    lowest = thresholds.effects(judged(table, {"motion": {"min_percentile": 40}, "codec": None}))
    assert ("select", "motion in the lowest") in thresholds.side_by_side([lowest, found[0]])


@pytest.mark.parametrize(("setting", "lower"), [("min", True), ("max", False)])
def test_survivors_are_those_that_the_rules_would_keep_if_the_bound_were_moved(setting, lower):
    table = random_clips()
    fixed = {"codec": {"forbidden": ["gif"]}, "sharpness": {"min": 0.2, "missing": "keep"}}
    seen = judged(table, {**fixed, "motion": {"min": 1, "max": 5, "missing": "keep"}})
    (bound,) = [one for one in thresholds.bounds(seen) if one.column == "motion" and one.lower == lower]
    values = rules.numbers(table["motion"])
    at = np.array([1.0, 1.52, 2.5, 4.08, 5.0])
    found = thresholds.survivors(bound, values, seen.hits, at)
    for place, count in zip(at, found, strict=True):
        moved = {"min": 1, "max": 5, "missing": "keep", setting: float(place)}
        assert (
            rules.apply(rules.parse({**fixed, "motion": moved}, True), table)["keep"].to_pylist().count(True) == count
        )
    now = found[list(at).index(bound.value)]
    alone = thresholds.effects(seen).filter(pa.compute.equal(thresholds.effects(seen)["reason"], bound.reason))
    loosest = thresholds.survivors(bound, values, seen.hits, np.array([-np.inf if lower else np.inf]))[0]
    assert loosest - now == alone["alone"][0].as_py()


def test_a_percentile_is_a_bound_where_it_came_to_lie():
    seen = judged(random_clips())
    (bound,) = [one for one in thresholds.bounds(seen) if one.column == "sharpness"]
    values = rules.numbers(seen.clips["sharpness"])
    said = [bound.reason in reasons for reasons in seen.all.to_pylist()]
    assert bound.rejects(values).tolist() == said
    assert bound.reason == "sharpness in the lowest 25 %"


def test_the_nearest_clips_on_both_sides_are_those_that_the_bound_alone_decides():
    values = np.array([0.9, 0.8, 0.1, 1.0, 1.2, 5.0, np.nan])
    hits = np.array([2, 1, 1, 0, 1, 0, 0])  # the first and the fifth are rejected for other reasons too
    outside, inside = thresholds.nearest(Bound("motion", True, 1.0, "motion below 1"), values, hits, 2)
    assert outside.tolist() == [2, 1]
    assert inside.tolist() == [3, 5]
    outside, inside = thresholds.nearest(Bound("motion", True, 1.0, "motion below 1"), values, hits, 3)
    assert outside.tolist() == [2, 1, 0]
    assert inside.tolist() == [3, 4, 5]


def test_of_equally_near_clips_some_are_taken_by_chance_and_always_the_same():
    values, hits = np.repeat([20.0, 30.0], 100), np.repeat([1, 0], 100)
    bound = Bound("fps", True, 24.0, "fps below 24")
    first, again = (thresholds.nearest(bound, values, hits, 4) for _ in range(2))
    assert first[0].tolist() == again[0].tolist()
    assert len(set(first[0])) == 4
    assert np.ptp(first[0]) > 4  # not one behind the other: those are of one video


def test_rank_correlation_is_that_of_the_ranks_with_ties_and_gaps():
    random = np.random.default_rng(1)
    base = random.random(400)
    rising, falling, noise = np.exp(9 * base), -(base**3), random.random(400)
    ties = np.round(base, 1)
    constant = np.ones(400)
    gaps = np.where(np.arange(400) % 3, base, np.nan)
    matrix = thresholds.spearman([base, rising, falling, noise, ties, constant, gaps])
    assert np.allclose(matrix[0, [0, 1, 2]], [1, 1, -1], atol=1e-9)
    assert matrix[0, 6] > 0.99  # ranks are those among all clips that have the column
    assert abs(matrix[0, 3]) < 0.15
    assert 0.98 < matrix[0, 4] < 1
    assert np.isnan(matrix[5]).all()
    assert np.allclose(matrix, matrix.T, equal_nan=True)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    by_hand = thresholds.spearman([np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])])
    assert by_hand[0, 1] == pytest.approx(4.5 / np.sqrt(4.5 * 5))
