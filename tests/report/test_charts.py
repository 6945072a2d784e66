"""Histograms and lines, by the heights and places of what is drawn."""

import re

import numpy as np
import pytest

from hpc_curate.report.charts import Axis, Line, Mark, axis, histogram, short, survival

NOBODY = np.zeros(0)
UNIT = Axis(0, 1)


def bars(svg, name):
    """(x, height) of each bar of a class."""
    found = []
    for rect in re.findall(rf'<rect class="{name}"[^>]*>', svg):
        numbers = dict(re.findall(r'(\w+)="([-\d.]+)"', rect))
        found.append((float(numbers["x"]), float(numbers["height"])))
    return found


def labels(svg):
    """Of the axis, from left to right."""
    return re.findall(r'text-anchor="\w+"[^>]*>([^<]+)<', svg)


def test_a_bar_is_as_high_as_its_count():
    values = np.concatenate([np.full(30, 0.1), np.full(60, 0.9)])
    low, high = bars(histogram(UNIT, values, NOBODY, []), "kept")
    assert low[0] < high[0]
    assert high[1] == 2 * low[1]


def test_clips_that_were_not_kept_stand_on_those_that_were():
    svg = histogram(UNIT, np.full(10, 0.5), np.full(20, 0.5), [])
    assert abs(bars(svg, "other")[0][1] - 2 * bars(svg, "kept")[0][1]) < 0.1
    assert "10 kept, 20 not" in svg


def test_what_the_tightest_bounds_shut_out_is_shaded_and_that_of_another_selection_is_not():
    marks = [Mark(0.25, True), Mark(0.1, True), Mark(0.75, False), Mark(0.5, True, "s1")]
    svg = histogram(UNIT, np.linspace(0, 1, 100), NOBODY, marks)
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" class="out"', svg)]
    assert widths == [120.5, 120.5]
    assert svg.count('class="mark bound"') == 3
    assert svg.count('class="mark s1"') == 1


def test_outliers_are_counted_in_the_end_bars_which_say_so():
    values = np.concatenate([np.linspace(0, 1, 1000), [1e9, -1e9]])
    over = axis(values, [])
    svg = histogram(over, values, NOBODY, [])
    assert sum(int(n) for n in re.findall(r": ([\d,]+) kept", svg)) == 1002
    first, _, last = labels(svg)
    assert (first[0], last[0]) == ("≤", "≥")
    assert float(last[1:]) < over.end and f"<title>{last}: " in svg and f"<title>{first}: " in svg


@pytest.mark.parametrize("scale", [lambda share: 1 + 18.69 * share, lambda share: 10 ** (4 * share)])
def test_values_not_far_out_are_on_the_axis_whose_ends_are_theirs(scale):
    values = scale(np.concatenate([np.linspace(0.1, 0.9, 400), [0, 1]]))
    svg = histogram(axis(values, []), values, NOBODY, [])
    first, _, last = labels(svg)
    assert first == short(values.min()) and last == short(values.max())


def test_a_long_tail_has_a_logarithmic_axis():
    values = 10 ** np.linspace(0, 4, 4800)
    heights = [height for _, height in bars(histogram(axis(values, []), values, NOBODY, []), "kept")]
    assert len(heights) == 48
    assert max(heights) < 2 * min(heights)


def test_one_value_has_a_picture_too():
    values = np.array([3.0])
    assert len(bars(histogram(axis(values, []), values, NOBODY, []), "kept")) == 1


def test_a_bound_beyond_all_values_is_on_the_axis():
    far = axis(np.linspace(5, 6, 100), [2.0, 9.0])
    assert (far.start, far.end) == (2.0, 9.0)
    assert {2.0, 5.4321, 9.0} <= set(far.points([2.0, 5.4321, 9.0]))


def test_the_line_of_survivors_falls_from_the_highest_count_and_has_a_dot_at_the_bound():
    points = np.array([0.0, 0.5, 1.0])
    svg = survival(
        UNIT, points, [Line(Mark(0.5, True), 30, np.array([40, 30, 0])), Line(Mark(1, False, "s1"), 40, points)]
    )
    (first, _) = re.findall(r'points="([^"]+)"', svg)
    (_, top), (_, middle), (_, bottom) = [tuple(map(float, pair.split(","))) for pair in first.split()]
    assert (bottom - middle) == (bottom - top) * 0.75
    dot = re.search(r'<circle class="dot bound" cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert dot and (float(dot[1]), float(dot[2])) == (240.0, middle)
    assert "lower bound at 0.5: 30 survive" in svg
    assert 'class="line upper s1"' in svg


def test_clips_that_are_not_told_apart_are_just_counted():
    svg = histogram(UNIT, None, np.array([0.5]), [])
    assert ": 1 clip<" in svg
    assert "kept" not in svg


def test_a_line_below_another_is_wide_enough_to_be_seen():
    counts = np.arange(10, 0, -1)
    lines = [
        Line(Mark(0.5, True, "s0"), 5, counts),
        Line(Mark(0.5, True, "s1"), 5, counts),
        Line(Mark(0.7, True, "s2"), 3, counts + 20),
    ]
    svg = survival(UNIT, np.linspace(0, 1, 10), lines)
    assert svg.count("stroke-width:6") == 2  # the first line and its mark
    assert "stroke-width" not in svg.split('class="line lower s1"')[1]
