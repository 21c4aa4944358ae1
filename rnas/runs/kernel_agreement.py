"""How far the scores of a kernel study agree with a table, over all its cells and over the best of them."""

from collections.abc import Sequence
import itertools
from pathlib import Path

import numpy as np

from rnas.artifacts.kernel_results import (
    RANKING,
    BestCells,
    KernelGain,
    KernelResults,
    KernelSettings,
    ScoreCorrelation,
    TableAgreement,
)
from rnas.spaces.nasbench201 import canonical
from rnas.tabular import RobBench, ranking
from rnas.tabular.ranks import correlation, gain, interval, resampled_spearman

BEST = 0.2  # share of the table's classes, by its first column, that is looked at alone
RESAMPLES = 2000
FEWEST = 3  # cells that a coefficient needs


def accuracies(ids: Sequence[int], table: RobBench, columns: Sequence[str]) -> np.ndarray:
    """Figures [C, A] of cells in columns of a table. Raises ValueError for a cell that it lacks."""
    return np.array([[table.query(number, *column.split("/")) for number in ids] for column in columns])


def agreement(results: KernelResults, table: RobBench, columns: Sequence[str]) -> TableAgreement:
    """Correlates the scores of a study with columns of a table.

    Args:
      results: of three cells or more.
      table: has all columns of all cells, see `accuracies`, which raises where it has not.
      columns: of the table; the first decides which cells are best.
    """
    settings, ids = results.settings, [cell.id for cell in results.architectures]
    names = settings.ranking_scores
    rows = np.array([[cell.scores[name] for cell in results.architectures] for name in names])
    values = accuracies(ids, table, columns)
    samples = _resampled(rows, values, settings)
    correlations = _correlations(names, columns, rows, values, samples)
    ordered = ranking(table, columns[0])
    best = np.isin([canonical(number) for number in ids], ordered[: int(BEST * len(ordered))])
    among_best = None
    if best.sum() >= FEWEST:
        of_best = rows[:, best], values[:, best]
        found = _correlations(names, columns, *of_best, _resampled(*of_best, settings))
        among_best = BestCells(BEST, columns[0], int(best.sum()), found)
    return TableAgreement(
        table={"source": Path(table.source).name, "sha256": table.sha256},
        columns=tuple(columns),
        resamples=RESAMPLES,
        shown=("clean", *(f"{kernel}@{e}" for kernel in ("robust", "twice") for e in settings.epsilons)),
        correlations=correlations,
        gains=_gains(results, columns, correlations, samples),
        best=among_best,
    )


def _resampled(rows: np.ndarray, values: np.ndarray, settings: KernelSettings) -> np.ndarray:
    return resampled_spearman(rows, values, resamples=RESAMPLES, seed=settings.seed)


def _correlations(
    names: Sequence[str], columns: Sequence[str], rows: np.ndarray, values: np.ndarray, samples: np.ndarray
) -> tuple[ScoreCorrelation, ...]:
    low, high = interval(samples)
    found = []
    for i, name in enumerate(names):
        for j, column in enumerate(columns):
            pair = correlation(rows[i], values[j])
            figures = (pair.spearman, low[i, j], high[i, j], pair.p_value, pair.kendall)
            found.append(ScoreCorrelation(name, column, *map(_finite, figures)))
    return tuple(found)


def _gains(
    results: KernelResults, columns: Sequence[str], correlations: Sequence[ScoreCorrelation], samples: np.ndarray
) -> tuple[KernelGain, ...]:
    """What a kernel under attack adds to the clean one, a larger radius to a smaller, a second attack to the first."""
    names, epsilons = results.settings.ranking_scores, results.settings.ascending_epsilons
    spearman = np.array([row.spearman for row in correlations], float).reshape(len(names), len(columns))
    pairs = [(f"robust@{epsilon}", "clean") for epsilon in epsilons]
    pairs += [(f"robust@{larger}", f"robust@{smaller}") for smaller, larger in itertools.pairwise(epsilons)]
    pairs += [(f"twice@{epsilon}", f"robust@{epsilon}") for epsilon in epsilons]
    found = []
    for score in RANKING:
        for one, other in pairs:
            i, j = (names.index(f"{kernel}/{score}") for kernel in (one, other))
            figures = np.stack(gain(spearman[i], spearman[j], samples[:, i], samples[:, j]), axis=1)
            found += [
                KernelGain(score, one, other, column, *map(_finite, row))
                for column, row in zip(columns, figures, strict=True)
            ]
    return tuple(found)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
