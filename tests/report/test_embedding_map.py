"""Where clips lie on the map, and what is drawn of them."""

import re

import numpy as np

from hpc_curate.report.embedding_map import Colouring, draw, plane


def test_the_axes_are_those_along_which_clips_differ_most():
    random = np.random.default_rng(0)
    hidden = random.standard_normal((500, 2)) * [10, 3]
    axes = np.linalg.qr(random.standard_normal((16, 16)))[0][:2]
    places, explained = plane(hidden @ axes + 0.01 * random.standard_normal((500, 16)) + 5, seed=0)
    assert explained > 0.99
    for at in (0, 1):
        assert abs(np.corrcoef(places[:, at], hidden[:, at])[0, 1]) > 0.99


def test_the_sign_of_an_axis_does_not_depend_on_the_order_of_clips():
    vectors = np.random.default_rng(1).standard_normal((100, 8))
    forth, _ = plane(vectors, seed=0)
    back, _ = plane(vectors[::-1], seed=0)
    np.testing.assert_allclose(forth, back[::-1], atol=1e-9)


def test_clips_that_are_all_the_same_have_a_place():
    places, explained = plane(np.ones((10, 4), np.float16), seed=0)
    assert not places.any()
    assert explained == 1.0


def test_a_hundred_thousand_points_are_few_elements_and_each_is_named_or_counted():
    places = np.random.default_rng(0).standard_normal((100_000, 2))
    of = np.arange(100_000) % 3
    groups = {0: ("c0", "a"), 1: ("c1", "b"), 2: ("c2", "c")}
    svg = draw(places, [f"clip {number}" for number in range(100_000)], [Colouring("cluster", of, groups)])
    assert svg.count("<") < 5_000
    assert svg.count("h0") == 100_000
    more = sum(int(number.replace(",", "")) for number in re.findall(r"and ([\d,]+) more", svg))
    assert svg.count("clip ") + more == 100_000


def test_a_name_on_the_map_is_text():
    svg = draw(np.zeros((1, 2)), ["<script>"], [Colouring("cluster", np.zeros(1, int), {0: ("c0", "<b>")})])
    assert "&lt;script&gt;" in svg and "&lt;b&gt;" in svg
    assert "<script>" not in svg and "<b>" not in svg
