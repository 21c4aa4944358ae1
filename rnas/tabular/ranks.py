"""Ranks of a table's cells, what the best are made of, and how far two rows of numbers agree on the order."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
import warnings

import numpy as np

from rnas.spaces.nasbench201 import OPERATIONS, encode
from rnas.tabular.table import RobBench, is_cost

LEVEL = 0.95  # of all intervals


class Correlation(NamedTuple):
    """Agreement of two rows of numbers; coefficients are NaN where one of the rows is constant."""

    spearman: float  # correlation of average ranks
    kendall: float  # tau-b
    p_value: float  # of Spearman's coefficient, two-sided, under no association (t distribution)
    count: int  # type: ignore[assignment]  # length of the rows; hides the method of a tuple


class Gain(NamedTuple):
    """By how much |ρ| of one score exceeds |ρ| of another, on the same architectures; arrays [...]."""

    gain: np.ndarray  # |ρ one| - |ρ other|
    low: np.ndarray  # ends of its 95 % percentile interval
    high: np.ndarray
    p_value: np.ndarray  # two-sided, of no difference: twice the smaller share of resamples on either side of 0


def correlation(one: np.ndarray, other: np.ndarray) -> Correlation:
    """Returns the agreement of two rows [A] of numbers; infinities count, NaN does not occur."""
    from scipy.stats import kendalltau, spearmanr  # half a second that only correlations need

    if len(one) < 2 or (one == one[0]).all() or (other == other[0]).all():
        return Correlation(np.nan, np.nan, np.nan, len(one))
    spearman = spearmanr(one, other)
    kendall = kendalltau(one, other).statistic.item()
    return Correlation(spearman.statistic.item(), kendall, float(spearman.pvalue), len(one))


def resampled_spearman(scores: np.ndarray, columns: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Returns Spearman's coefficient of `scores` [S, A] and `columns` [C, A] on bootstrap samples, [resamples, S, C].

    Each draws A architectures with replacement, the same for all scores and columns.
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
    """Compares magnitudes of coefficients [...] on the same architectures, with samples [B, ...] on the same draws."""
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


class Summary(NamedTuple):
    """A column over the classes that were evaluated."""

    median: float
    mean: float
    best: float  # its maximum; of a cost its minimum
    best_id: int  # the smallest id that has it
    count: int  # type: ignore[assignment]  # of classes; hides the method of a tuple


def ranking(table: RobBench, column: str) -> tuple[int, ...]:
    """Returns the ids of all evaluated classes, best first, the smaller id of equals first; ValueError for none."""
    values = table.column(column)
    ids = np.asarray(table.ids)[np.isfinite(values)]
    if not len(ids):
        raise ValueError(f"{column} has no figure of any class of {table.source}.")
    values = values[np.isfinite(values)]
    order = np.argsort(values if is_cost(column) else -values, kind="stable")
    return tuple(ids[order].tolist())


def summarize(table: RobBench, column: str) -> Summary:
    """Returns median, mean and best of a column."""
    values = table.column(column)
    best_id = ranking(table, column)[0]
    best = values[table.ids.index(best_id)].item()
    count = np.isfinite(values).sum().item()
    return Summary(np.nanmedian(values).item(), np.nanmean(values).item(), best, best_id, count)


def best_share(table: RobBench, column: str, share: float) -> tuple[int, ...]:
    """Returns the first floor(share · R) of the R ids of `ranking`; 0 < share ≤ 1 must leave two classes."""
    ordered = ranking(table, column)
    if not 0 < share <= 1 or int(share * len(ordered)) < 2:
        raise ValueError(f"share {share} of {len(ordered)} classes: expected above 0, up to 1, two classes or more.")
    return ordered[: int(share * len(ordered))]


def stratified_sample(ordered: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Cuts `ordered` ids into `count` parts of equal length and draws one from each; ascending."""
    if not 1 <= count <= len(ordered):
        raise ValueError(f"a sample of {count}: expected 1 to {len(ordered)}, the number of classes.")
    return sorted(int(rng.choice(part)) for part in np.array_split(np.asarray(ordered), count))


def count_operations(ids: Sequence[int]) -> dict[str, int]:
    """Returns how many edges of these cells each operation stands on."""
    counts = Counter(operation for number in ids for operation in encode(number))
    return {name: counts[operation] for operation, name in enumerate(OPERATIONS)}


def correlate(table: RobBench, one: str, other: str, *, ids: Sequence[int] | None = None) -> Correlation:
    """Returns how far two columns agree on the order of classes: of those in `ids`, or all, the ones that both have."""
    rows = slice(None) if ids is None else np.searchsorted(table.ids, ids)
    pair = np.stack([table.column(one)[rows], table.column(other)[rows]])
    pair = pair[:, np.isfinite(pair).all(0)]
    if pair.shape[1] < 2:
        raise ValueError(f"{one} and {other} have {pair.shape[1]} classes in common; a correlation needs two.")
    return correlation(*pair)
