"""Histograms, by the heights and places of their bars."""

import re

import numpy as np

from hpc_curate.report.charts import Bounds, histogram

NOBODY = np.zeros(0)


def bars(svg, name):
    """(x, height) of each bar of a class."""
    found = []
    for rect in re.findall(rf'<rect class="{name}"[^>]*>', svg):
        numbers = dict(re.findall(r'(\w+)="([-\d.]+)"', rect))
        found.append((float(numbers["x"]), float(numbers["height"])))
    return found


def test_a_bar_is_as_high_as_its_count():
    values = np.concatenate([np.full(30, 0.1), np.full(60, 0.9)])
    low, high = bars(histogram(values, NOBODY, Bounds(0, 1)), "kept")
    assert low[0] < high[0]
    assert high[1] == 2 * low[1]


def test_clips_that_were_not_kept_stand_on_those_that_were():
    svg = histogram(np.full(10, 0.5), np.full(20, 0.5), Bounds(0, 1))
    assert bars(svg, "other")[0][1] == 2 * bars(svg, "kept")[0][1]
    assert "10 kept, 20 not" in svg


def test_what_the_bounds_shut_out_is_shaded():
    svg = histogram(np.linspace(0, 1, 100), NOBODY, Bounds(0.25, 0.75))
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" class="out"', svg)]
    assert len(widths) == 2
    assert abs(widths[0] - 80) < 2
    assert abs(widths[1] - 80) < 2


def test_outliers_are_counted_in_the_last_bar():
    values = np.concatenate([np.linspace(0, 1, 1000), [1e9]])
    svg = histogram(values, NOBODY, Bounds())
    assert sum(int(n) for n in re.findall(r": ([\d,]+) kept", svg)) == 1001


def test_a_long_tail_has_a_logarithmic_axis():
    values = 10 ** np.linspace(0, 4, 1000)
    heights = [height for _, height in bars(histogram(values, NOBODY, Bounds()), "kept")]
    assert len(heights) == 40
    assert max(heights) < 2 * min(heights)


def test_one_value_and_no_value_have_pictures_too():
    assert len(bars(histogram(np.array([3.0]), NOBODY, Bounds()), "kept")) == 1
    assert histogram(NOBODY, NOBODY, Bounds(0, 1)) is None
