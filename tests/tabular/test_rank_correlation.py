"""Rank correlations, their intervals and their differences, against SciPy and known distributions."""

import numpy as np
import pytest
from scipy import stats

from rnas.tabular.ranks import correlation, gain, interval, resampled_spearman


@pytest.fixture(scope="module")
def data():
    """Three scores and two columns of 60 architectures, with ties; the second score is constant."""
    random = np.random.default_rng(0)
    columns = random.normal(size=(2, 60)).round(1)
    scores = np.stack([columns[0] + 0.5 * random.normal(size=60), np.ones(60), -columns[1]])
    return scores, columns


@pytest.fixture(scope="module")
def samples(data):
    return resampled_spearman(*data, resamples=500, seed=1)


@pytest.fixture(scope="module")
def spearman(data):
    """Coefficients [S, C]."""
    scores, columns = data
    return np.array([[correlation(one, other).spearman for other in columns] for one in scores])


def test_coefficients_are_those_of_scipy(data, spearman, samples):
    scores, columns = data
    low, high = interval(samples)
    for i in (0, 2):
        for j in (0, 1):
            found = correlation(scores[i], columns[j])
            expected = stats.spearmanr(scores[i], columns[j])
            assert found.spearman == spearman[i, j] == pytest.approx(expected.statistic)
            assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-300)
            assert found.kendall == pytest.approx(stats.kendalltau(scores[i], columns[j]).statistic)
            assert found.count == 60
            assert low[i, j] - 1e-12 <= found.spearman <= high[i, j]
    assert spearman[2, 1] == pytest.approx(-1) and low[2, 1] == pytest.approx(-1)


def test_a_constant_row_has_no_coefficient(data, samples):
    scores, columns = data
    low, high = interval(samples)
    assert np.isnan(correlation(scores[1], columns[0])[:3]).all()
    assert np.isnan(low[1]).all() and np.isnan(high[1]).all()
    assert np.isnan(correlation(scores[0][:1], columns[0][:1])[:3]).all()


def test_intervals_are_as_wide_as_theory_says(samples):
    """Fisher's z has a standard error of about 1.03 / sqrt(n - 3)."""
    low, high = interval(samples)
    width = np.arctanh(high[0, 0]) - np.arctanh(low[0, 0])
    assert width == pytest.approx(2 * 1.96 * 1.03 / 57**0.5, rel=0.35)


def test_resamples_follow_from_the_seed(data, samples):
    np.testing.assert_array_equal(samples, resampled_spearman(*data, resamples=500, seed=1))
    assert (samples[:, 0] != resampled_spearman(*data, resamples=500, seed=2)[:, 0]).any()


def test_gains_compare_magnitudes_on_the_same_resamples(spearman, samples):
    found = gain(spearman[2], spearman[0], samples[:, 2], samples[:, 0])
    assert found.gain[1] == pytest.approx(1 - abs(spearman[0, 1]))
    assert found.low[1] > 0 and found.p_value[1] < 0.05
    constant = gain(spearman[1], spearman[0], samples[:, 1], samples[:, 0])
    assert all(np.isnan(value).all() for value in constant)
    same = gain(spearman[0], spearman[0], samples[:, 0], samples[:, 0])
    assert (same.gain == 0).all() and (same.low == 0).all() and (same.p_value == 1).all()
