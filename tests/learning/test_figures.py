import numpy as np
import pytest

from hpc_curate.learning import figures


def test_auc_counts_pairs_in_the_right_order_and_ties_half():
    positive = np.array([True, True, False, False])
    assert figures.auc(np.array([4.0, 3, 2, 1]), positive) == 1
    assert figures.auc(np.array([4.0, 1, 2, 3]), positive) == 0.5
    assert figures.auc(np.array([1.0, 1, 1, 0]), positive) == 0.75
    assert figures.auc(np.ones(4), np.ones(4, bool)) is None


def test_correlation_is_of_values_and_of_ranks():
    a, b = np.array([1.0, 2, 3, 4]), np.array([1.0, 10, 100, 1000])
    assert figures.correlation(a, 2 * a + 1) == pytest.approx(1)
    assert figures.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert figures.correlation(figures.ranks(a), figures.ranks(-b)) == pytest.approx(-1)
    assert figures.correlation(a, np.ones(4)) is None


def test_brier_and_log_loss_of_a_coin():
    coin, labels = np.full((4, 2), 0.5), np.array([0, 1, 1, 0])
    assert figures.brier(coin, labels) == 0.25
    assert figures.log_loss(coin, labels) == pytest.approx(np.log(2))


def test_reliability_is_by_bins_of_equally_many():
    predicted = np.repeat([0.9, 0.1], 50)
    observed = np.concatenate([np.arange(50) < 30, np.zeros(50)]).astype(float)
    bins = figures.reliability(predicted, observed)
    assert [each.clips for each in bins] == [10] * 10
    assert [each.predicted for each in bins] == pytest.approx([0.1] * 5 + [0.9] * 5)
    # 0.1 was said of half of the clips, of which none came true: off by 0.1. 0.9 came true in 3 bins of 5.
    assert figures.calibration_error(bins) == pytest.approx(0.5 * 0.1 + 0.3 * 0.1 + 0.2 * 0.9)
