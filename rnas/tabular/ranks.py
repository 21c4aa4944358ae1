"""Rank statistics of a table: best cells, what they are made of, and how far two columns agree on the order."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnas.spaces.nasbench201 import OPERATIONS, encode
from rnas.tabular.rank_correlation import Correlation, correlation
from rnas.tabular.table import RobBench, is_cost


class Summary(NamedTuple):
    """A column over the classes that were evaluated.

    Attributes:
      median: of the column.
      mean: of the column.
      best: its maximum; of a cost its minimum.
      best_id: the smallest id that has it.
      count: number of classes.
    """

    median: float
    mean: float
    best: float
    best_id: int
    count: int  # type: ignore[assignment]  # hides the method of a tuple


def ranking(table: RobBench, column: str) -> tuple[int, ...]:
    """Returns the ids of all evaluated classes, best first, the smaller id of equals first.

    Raises:
      ValueError: no such column.
    """
    values = table.column(column)
    ids = np.asarray(table.ids)[np.isfinite(values)]
    values = values[np.isfinite(values)]
    order = np.argsort(values if is_cost(column) else -values, kind="stable")
    return tuple(ids[order].tolist())


def summarize(table: RobBench, column: str) -> Summary:
    """Returns median, mean and best of a column.

    Raises:
      ValueError: no such column.
    """
    values = table.column(column)
    best_id = ranking(table, column)[0]
    best = values[table.ids.index(best_id)].item()
    count = np.isfinite(values).sum().item()
    return Summary(np.nanmedian(values).item(), np.nanmean(values).item(), best, best_id, count)


def best_share(table: RobBench, column: str, share: float) -> tuple[int, ...]:
    """Returns the first floor(share · R) of the R ids of `ranking`.

    Raises:
      ValueError: no such column, or a share that is not above 0 and at most 1, or leaves less than two classes.
    """
    ordered = ranking(table, column)
    if not 0 < share <= 1 or int(share * len(ordered)) < 2:
        raise ValueError(f"share {share} of {len(ordered)} classes: expected above 0, up to 1, two classes or more.")
    return ordered[: int(share * len(ordered))]


def stratified_sample(ordered: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Cuts `ordered` ids into `count` parts of equal length and draws one from each; ascending.

    Raises:
      ValueError: a count below 1 or above the number of ids.
    """
    if not 1 <= count <= len(ordered):
        raise ValueError(f"a sample of {count}: expected 1 to {len(ordered)}, the number of classes.")
    return sorted(int(rng.choice(part)) for part in np.array_split(np.asarray(ordered), count))


def count_operations(ids: Sequence[int]) -> dict[str, int]:
    """Returns how many edges of these cells each operation stands on."""
    counts = Counter(operation for number in ids for operation in encode(number))
    return {name: counts[operation] for operation, name in enumerate(OPERATIONS)}


def correlate(table: RobBench, one: str, other: str, *, ids: Sequence[int] | None = None) -> Correlation:
    """Returns how far two columns agree on the order of classes, those that both have.

    Args:
      ids: of the classes that count; None takes all.

    Raises:
      ValueError: no such column, an id without a row, or less than two classes.
    """
    rows = slice(None) if ids is None else np.searchsorted(table.ids, ids)
    pair = np.stack([table.column(one)[rows], table.column(other)[rows]])
    pair = pair[:, np.isfinite(pair).all(0)]
    if pair.shape[1] < 2:
        raise ValueError(f"{one} and {other} have {pair.shape[1]} classes in common; a correlation needs two.")
    return correlation(*pair)
