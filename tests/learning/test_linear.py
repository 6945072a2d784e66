import numpy as np
import pytest

from hpc_curate.learning import linear


def points(count, dimensions, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dimensions))


def test_ridge_is_the_line_through_the_points_and_bends_to_zero_with_the_penalty():
    x = points(50, 3)
    y = x @ [1.0, -2.0, 0.5] + 4
    found = linear.fit_ridge(x, y, 1e-9)
    assert found.weights[0] == pytest.approx([1, -2, 0.5], abs=1e-6)
    assert found.intercepts == pytest.approx([4], abs=1e-6)
    assert np.abs(linear.fit_ridge(x, y, 1e9).weights).max() < 1e-6


def test_logistic_regression_gets_back_the_chances_that_made_the_labels():
    x = points(20_000, 2)
    truth = np.array([[1.0, 0.0], [-1.0, 2.0], [0.0, -1.0]])
    chances = linear.softmax(x @ truth.T + [0.5, 0, -0.5])
    labels = (chances.cumsum(axis=1) > np.random.default_rng(1).random((len(x), 1))).argmax(axis=1)
    found = linear.softmax(linear.fit_logistic(x, labels, 3, 1.0).scores(x))
    assert np.abs(found - chances).mean() < 0.01


def test_at_the_minimum_loss_and_penalty_are_in_balance():
    x, labels = points(80, 4), np.arange(80) % 3
    found = linear.fit_logistic(x, labels, 3, 2.0)
    off = linear.softmax(found.scores(x)) - np.eye(3)[labels]
    assert off.T @ x + 2.0 * found.weights == pytest.approx(np.zeros((3, 4)), abs=1e-3)
    assert off.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-3)


def test_more_columns_than_rows_change_nothing_but_the_work():
    x, labels = points(30, 5), np.arange(30) % 2
    turned = x @ np.linalg.qr(points(60, 5, seed=2))[0].T  # the same points in 60 dimensions
    few, many = linear.fit_logistic(x, labels, 2, 1.0), linear.fit_logistic(turned, labels, 2, 1.0)
    assert many.weights.shape == (2, 60)
    assert many.scores(turned) == pytest.approx(few.scores(x), abs=1e-4)


def test_a_temperature_undoes_what_made_the_scores_too_sure():
    scores = 3 * points(20_000, 3)
    chances = linear.softmax(scores)
    labels = (chances.cumsum(axis=1) > np.random.default_rng(1).random((len(scores), 1))).argmax(axis=1)
    assert linear.temperature(scores * 4, labels) == pytest.approx(4, rel=0.05)
    assert linear.temperature(scores / 4, labels) == pytest.approx(0.25, rel=0.05)


def test_ten_clips_that_all_came_out_right_do_not_make_it_sure_of_everything():
    scores = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
    labels = np.array([0] * 5 + [1] * 5)
    chances = linear.softmax(scores / linear.temperature(scores, labels))
    assert chances.max(axis=1) == pytest.approx(np.full(10, 6 / 7), abs=1e-3)
