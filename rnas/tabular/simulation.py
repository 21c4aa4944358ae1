"""Searches on the table, repeated over seeds: what they choose, how soon, and how far they fall short."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from rnas.tabular.search import Search, evolution, local_search, non_dominated, pareto_local_search, random_search
from rnas.tabular.table import RobBench

ALGORITHMS = ("random", "evolution", "local_search")


@dataclasses.dataclass(frozen=True, eq=False)
class Simulation:
    """Repeated searches.

    Attributes:
      objectives: columns that were searched on.
      algorithm: one of `ALGORITHMS`.
      seed: of all repeats; repeat r draws from a generator seeded by (seed, r).
      scores: [15625, d], larger is better: accuracies, and negative costs.
      queries: [repeats, budget] ids in the order of query.
    """

    objectives: tuple[str, ...]
    algorithm: str
    seed: int
    scores: np.ndarray
    queries: np.ndarray

    def chosen(self) -> np.ndarray:
        """Ids [repeats, budget] of the best of a single objective after each query, the first of equals."""
        reached = self.reached()
        new = np.diff(reached, axis=1, prepend=-np.inf) > 0
        place = np.maximum.accumulate(np.where(new, np.arange(reached.shape[1]), 0), axis=1)
        return np.take_along_axis(self.queries, place, axis=1)

    def reached(self) -> np.ndarray:
        """Scores [repeats, budget] of those."""
        return np.maximum.accumulate(self.scores[self.queries, 0], axis=1)

    def queries_to_optimum(self) -> np.ndarray:
        """Number of queries [repeats] until the table's best was found; NaN where it was not."""
        found = self.reached() == self.scores[:, 0].max()
        return np.where(found.any(1), found.argmax(1) + 1.0, np.nan)

    def hypervolumes(self, numbers: np.ndarray) -> np.ndarray:
        """Share [repeats, P] of the hypervolume of the table's front that the first `numbers` [P] queries dominate.

        Every objective is scaled so that the table's worst is 0, the point of reference, and its best is 1.
        """
        points = (self.scores - self.scores.min(0)) / np.ptp(self.scores, axis=0)
        whole = hypervolume(points)
        return np.array([[hypervolume(points[row[:number]]) / whole for number in numbers] for row in self.queries])

    def front_shares(self) -> np.ndarray:
        """Share [repeats] of the different points of the table's front that were found."""
        front = np.unique(self.scores[non_dominated(self.scores)], axis=0)
        members = (self.scores[:, None] == front).all(-1)
        return np.array([members[row].any(0).mean() for row in self.queries])


def simulate(
    table: RobBench, objectives: Sequence[str], algorithm: str, *, budget: int, repeats: int, seed: int = 0
) -> Simulation:
    """Searches `repeats` times.

    Args:
      table: a complete one.
      objectives: columns; several make it a search for the Pareto front.
      algorithm: 'random', 'evolution' or 'local_search'.
      budget: queries of each search.
      repeats: number of searches.
      seed: 0 or larger.

    Raises:
      ValueError: no such column or algorithm, a number out of range.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"no algorithm is named {algorithm!r}; there are {', '.join(ALGORITHMS)}.")
    if len(set(objectives)) != len(objectives) or not objectives:
        raise ValueError(f"objectives {', '.join(objectives) or 'none'}: expected one or more different columns.")
    if repeats < 1 or seed < 0:
        raise ValueError(f"repeats={repeats}, seed={seed}: expected at least 1 repeat and a seed from 0.")
    scores = np.stack([table.scores(name) for name in objectives], axis=1)
    if not 1 <= budget <= len(scores):
        raise ValueError(f"budget={budget}: expected 1 to {len(scores)} queries.")
    search: Search = {
        "random": random_search,
        "evolution": evolution,
        "local_search": local_search if len(objectives) == 1 else pareto_local_search,
    }[algorithm]
    queries = [search(scores, budget, np.random.default_rng([seed, repeat])) for repeat in range(repeats)]
    return Simulation(tuple(objectives), algorithm, seed, scores, np.array(queries))


def spaced(budget: int, points: int = 200) -> np.ndarray:
    """Returns at most `points` numbers of queries from 1 to `budget`, evenly spaced, both ends among them."""
    return np.unique(np.linspace(1, budget, min(points, budget)).round().astype(int))


def expected_best(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Expected best [P] of so many uniform draws with replacement, exactly: what random search reaches.

    E max = sum over i of v_(i) ((i / N)^B - ((i - 1) / N)^B), for the N scores in ascending order.

    Args:
      scores: [N].
      numbers: [P] numbers B of draws.
    """
    shares = np.linspace(0, 1, len(scores) + 1) ** np.asarray(numbers)[:, None]
    return np.diff(shares, axis=1) @ np.sort(scores)


def hypervolume(points: np.ndarray) -> float:
    """Volume of what `points` [n, d] dominate above the origin, larger being better; none is negative.

    Sliced along the last objective, each slice being the hypervolume of one dimension less (While et al. 2006, "A
    faster algorithm for calculating hypervolume").
    """
    if points.shape[1] == 1:
        return float(points.max())
    points = np.unique(points[non_dominated(points)], axis=0)
    points = points[np.argsort(-points[:, -1], kind="stable")]
    heights = points[:, -1]
    ends = np.flatnonzero(np.diff(heights, append=-1.0))  # the last point of each height
    depths = heights[ends] - np.append(heights[ends[1:]], 0.0)
    return sum(
        (hypervolume(points[: end + 1, :-1]) * depth for end, depth in zip(ends, depths, strict=True)), start=0.0
    )
