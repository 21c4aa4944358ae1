"""How far rows of numbers agree on the order of architectures, and how sure that is."""

from typing import NamedTuple
import warnings

import numpy as np

LEVEL = 0.95  # of all intervals


class Correlation(NamedTuple):
    """Agreement of two rows of numbers; coefficients are NaN where one of the rows is constant.

    Attributes:
      spearman: correlation of average ranks.
      kendall: Kendall's tau-b.
      p_value: of Spearman's coefficient, two-sided, under no association (t distribution).
      count: length of the rows.
    """

    spearman: float
    kendall: float
    p_value: float
    count: int  # type: ignore[assignment]  # hides the method of a tuple


class Gain(NamedTuple):
    """By how much |ρ| of one score exceeds |ρ| of another, on the same architectures; arrays [...].

    Attributes:
      gain: |ρ one| - |ρ other|.
      low: lower end of its 95 % percentile interval.
      high: upper end.
      p_value: two-sided, of no difference: twice the smaller share of resamples on either side of 0.
    """

    gain: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray


def correlation(one: np.ndarray, other: np.ndarray) -> Correlation:
    """Returns the agreement of two rows [A] of numbers; infinities count, NaN does not occur."""
    from scipy.stats import kendalltau, spearmanr  # half a second that only correlations need

    if len(one) < 2 or (one == one[0]).all() or (other == other[0]).all():
        return Correlation(np.nan, np.nan, np.nan, len(one))
    spearman = spearmanr(one, other)
    kendall = kendalltau(one, other).statistic.item()
    return Correlation(spearman.statistic.item(), kendall, float(spearman.pvalue), len(one))


def resampled_spearman(scores: np.ndarray, columns: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Returns Spearman's coefficient on bootstrap samples of the architectures, [resamples, S, C].

    Args:
      scores: [S, A].
      columns: [C, A].
      resamples: B; each draws A architectures with replacement, the same for all scores and columns.
      seed: of the draws.
    """
    draws = np.random.default_rng(seed).integers(scores.shape[1], size=(resamples, scores.shape[1]))
    found = [_standard_ranks(scores[:, draw]) @ _standard_ranks(columns[:, draw]).T for draw in draws]
    return np.clip(np.stack(found), -1.0, 1.0)


def interval(samples: np.ndarray) -> np.ndarray:
    """Returns both ends [2, ...] of the 95 % percentile interval of samples [B, ...]; NaN among them does not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all samples are NaN, so is the interval
        return np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def gain(one: np.ndarray, other: np.ndarray, one_samples: np.ndarray, other_samples: np.ndarray) -> Gain:
    """Returns by how much the magnitude of one coefficient exceeds that of another.

    Args:
      one: coefficients [...].
      other: [...], on the same architectures.
      one_samples: [B, ...], on the same bootstrap samples.
      other_samples: [B, ...].
    """
    differences = np.abs(one_samples) - np.abs(other_samples)
    count = np.isfinite(differences).sum(0)
    sides = np.minimum((differences <= 0).sum(0), (differences >= 0).sum(0))
    p_value = np.where(count, np.minimum(2 * (sides + 1) / (count + 1), 1.0), np.nan)
    low, high = interval(differences)
    return Gain(np.abs(one) - np.abs(other), low, high, p_value)


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Average ranks [..., A] with mean 0 and length 1; NaN for a constant row."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=-1)
    ranks -= ranks.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return ranks / np.sqrt((ranks**2).sum(-1, keepdims=True))
