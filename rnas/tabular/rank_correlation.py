"""How far scores agree with accuracies on the order of architectures, and how sure that is."""

from typing import NamedTuple
import warnings

import numpy as np

LEVEL = 0.95  # of all intervals


class Correlation(NamedTuple):
    """Rank correlation [S, C] of S scores with C columns; NaN where one of the two is constant.

    Attributes:
      spearman: correlation of average ranks.
      low: lower end of its 95 % percentile interval under resampling of architectures.
      high: upper end.
      p_value: two-sided, of no association (t distribution).
      kendall: Kendall's tau-b.
      count: number of architectures.
    """

    spearman: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray
    kendall: np.ndarray
    count: int


class Gain(NamedTuple):
    """By how much |ρ| of one score exceeds that of another, on the same architectures; arrays [...].

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


def resampled_spearman(scores: np.ndarray, columns: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Returns Spearman's coefficient on bootstrap samples of the architectures, [resamples, S, C].

    Args:
      scores: [S, A].
      columns: [C, A].
      resamples: B; every one draws A architectures with replacement, the same for all scores and columns.
      seed: of the draws.
    """
    draws = np.random.default_rng(seed).integers(scores.shape[1], size=(resamples, scores.shape[1]))
    return np.stack([_spearman(scores[:, draw], columns[:, draw]) for draw in draws])


def correlate(scores: np.ndarray, columns: np.ndarray, samples: np.ndarray) -> Correlation:
    """Returns the correlation of every score with every column.

    Args:
      scores: [S, A], finite.
      columns: [C, A], finite.
      samples: [B, S, C] of `resampled_spearman`.

    Raises:
      ValueError: less than three architectures.
    """
    from scipy import stats

    count = scores.shape[1]
    if count < 3:
        raise ValueError(f"{count} architectures; a correlation needs three or more.")
    spearman = _spearman(scores, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(spearman) * np.sqrt((count - 2) / np.maximum(1 - spearman**2, 0))
    kendall = np.array([[_kendall(one, other) for other in columns] for one in scores])
    low, high = _interval(samples)
    return Correlation(spearman, low, high, 2 * stats.t.sf(t, count - 2), kendall, count)


def gain(one: np.ndarray, other: np.ndarray, one_samples: np.ndarray, other_samples: np.ndarray) -> Gain:
    """Returns by how much the magnitude of one coefficient exceeds that of another.

    Args:
      one: coefficients [...].
      other: [...], on the same architectures.
      one_samples: [B, ...], on the same bootstrap samples.
      other_samples: [B, ...].
    """
    differences = np.abs(one_samples) - np.abs(other_samples)
    low, high = _interval(differences)
    count = np.isfinite(differences).sum(0)
    sides = np.minimum((differences <= 0).sum(0), (differences >= 0).sum(0))
    p_value = np.where(count, np.minimum(2 * (sides + 1) / (count + 1), 1.0), np.nan)
    return Gain(np.abs(one) - np.abs(other), low, high, p_value)


def _spearman(scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
    one, other = _standard_ranks(scores), _standard_ranks(columns)
    return np.clip(one @ other.T, -1.0, 1.0)


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Average ranks [..., A] with mean 0 and length 1; NaN for a constant row."""
    from scipy.stats import rankdata  # half a second that only correlations need

    ranks = rankdata(values, axis=-1)
    ranks -= ranks.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return ranks / np.sqrt((ranks**2).sum(-1, keepdims=True))


def _kendall(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import kendalltau

    return kendalltau(one, other).statistic.item() if np.ptp(one) and np.ptp(other) else np.nan


def _interval(samples: np.ndarray) -> np.ndarray:
    """[2, ...]; samples that are constant by chance do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all samples may be NaN, and so is the interval
        return np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
