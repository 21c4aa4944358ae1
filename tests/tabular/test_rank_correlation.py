"""Rank correlations, their intervals and their differences, against SciPy and known distributions."""

import numpy as np
import pytest
from scipy import stats

from rnas.tabular import rank_correlation as correlation


@pytest.fixture(scope="module")
def data():
    """Three scores and two columns of 60 architectures, with ties; the second score is constant."""
    random = np.random.default_rng(0)
    columns = random.normal(size=(2, 60)).round(1)
    scores = np.stack([columns[0] + 0.5 * random.normal(size=60), np.ones(60), -columns[1]])
    return scores, columns


@pytest.fixture(scope="module")
def samples(data):
    return correlation.resampled_spearman(*data, resamples=500, seed=1)


def test_coefficients_are_those_of_scipy(data, samples):
    scores, columns = data
    found = correlation.correlate(scores, columns, samples)
    assert found.count == 60
    for i in (0, 2):
        for j in (0, 1):
            expected = stats.spearmanr(scores[i], columns[j])
            assert found.spearman[i, j] == pytest.approx(expected.statistic)
            assert found.p_value[i, j] == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-300)
            assert found.kendall[i, j] == pytest.approx(stats.kendalltau(scores[i], columns[j]).statistic)
            assert found.low[i, j] <= found.spearman[i, j] <= found.high[i, j]
    assert found.spearman[2, 1] == pytest.approx(-1) and found.low[2, 1] == pytest.approx(-1)
    assert np.isnan(found.spearman[1]).all() and np.isnan(found.p_value[1]).all() and np.isnan(found.low[1]).all()


def test_intervals_are_as_wide_as_theory_says(data, samples):
    """Fisher's z has a standard error of about 1.03 / sqrt(n - 3)."""
    found = correlation.correlate(*data, samples)
    width = np.arctanh(found.high[0, 0]) - np.arctanh(found.low[0, 0])
    assert width == pytest.approx(2 * 1.96 * 1.03 / 57**0.5, rel=0.35)


def test_resamples_follow_from_the_seed(data, samples):
    np.testing.assert_array_equal(samples, correlation.resampled_spearman(*data, resamples=500, seed=1))
    assert (samples[:, 0] != correlation.resampled_spearman(*data, resamples=500, seed=2)[:, 0]).any()


def test_gains_compare_magnitudes_on_the_same_resamples(data, samples):
    spearman = correlation.correlate(*data, samples).spearman
    found = correlation.gain(spearman[2], spearman[0], samples[:, 2], samples[:, 0])
    assert found.gain[1] == pytest.approx(1 - abs(spearman[0, 1]))
    assert found.low[1] > 0 and found.p_value[1] < 0.05
    constant = correlation.gain(spearman[1], spearman[0], samples[:, 1], samples[:, 0])
    assert all(np.isnan(value).all() for value in constant)
    same = correlation.gain(spearman[0], spearman[0], samples[:, 0], samples[:, 0])
    assert (same.gain == 0).all() and (same.low == 0).all() and (same.p_value == 1).all()


def test_two_architectures_are_too_few(data):
    scores, columns = data
    with pytest.raises(ValueError, match="three or more"):
        correlation.correlate(scores[:, :2], columns[:, :2], np.zeros((1, 3, 2)))
