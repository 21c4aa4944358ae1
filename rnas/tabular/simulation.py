"""Searches on the table, repeated over seeds: what they choose, how soon, and how far they fall short.

A search is a function (scores, budget, rng) → ids in the order of query. `scores` are [15625, d], larger is better in
each of d objectives; `budget` is the number of queries; `rng` draws. The space is that of the 15,625 encodings, not of
their classes. Budgets and settings of the published comparison (arXiv 2403.13134) are not known; those here are stated
at each function.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses

import numpy as np

from rnas.spaces.nasbench201 import SIZE, neighbours
from rnas.tabular.table import RobBench

POPULATION, SAMPLE = 50, 10  # of `evolution`

Search = Callable[[np.ndarray, int, np.random.Generator], list[int]]

# -- algorithms ------------------------------------------------------------------------------------------


def random_search(scores: np.ndarray, budget: int, rng: np.random.Generator) -> list[int]:
    """Draws `budget` architectures uniformly, with replacement; the scores do not matter."""
    del scores
    return rng.integers(SIZE, size=budget).tolist()


def evolution(scores: np.ndarray, budget: int, rng: np.random.Generator) -> list[int]:
    """Regularised evolution (Real et al. 2019, arXiv 1802.01548).

    A population of 50 random architectures, which count. Then, each time: of 10 members drawn without replacement the
    best, or a random one of those that no other of them dominates, gets one random edge changed to one of the four
    other operations; the child joins, the oldest member leaves. Architectures that come again count again.
    """
    queries = rng.integers(SIZE, size=min(POPULATION, budget)).tolist()
    near = neighbours()
    while len(queries) < budget:
        # The population is always the last 50 queries.
        drawn = np.array(queries[-POPULATION:])[rng.choice(POPULATION, SAMPLE, replace=False)]
        parent = rng.choice(drawn[non_dominated(scores[drawn])])
        queries.append(int(near[parent, rng.integers(near.shape[1])]))
    return queries


def local_search(scores: np.ndarray, budget: int, rng: np.random.Generator) -> list[int]:
    """Hill climbing over the 24 neighbours, from random starts (White et al. 2021, arXiv 2005.02960).

    All neighbours are queried in random order; the best becomes the centre if it is strictly better, else the search
    begins anew at a random architecture that was not queried. Only new architectures count: at most 15,625.
    """
    values = scores[:, 0]
    queries = _Queries(budget, rng)
    while not queries.spent:
        centre = queries.start()
        while not queries.spent:
            around = neighbours()[centre]
            queries.extend(around.tolist())
            best = around[values[around].argmax()]
            if values[best] <= values[centre]:
                break
            centre = best
    return list(queries)


def pareto_local_search(scores: np.ndarray, budget: int, rng: np.random.Generator) -> list[int]:
    """Pareto local search (Paquete et al. 2004, "Pareto Local Optimum Sets in the Biobjective TSP"), with restarts.

    An archive holds what no other of its members dominates, at first a random architecture. A random member that was
    not yet explored has its neighbours queried in random order, and those that are not dominated join. When all are
    explored, the search begins anew with an empty archive at a random architecture that was not queried. Only new
    architectures count.
    """
    queries = _Queries(budget, rng)
    while not queries.spent:
        archive, explored = np.array([queries.start()]), set()
        while not queries.spent:
            waiting = [number for number in archive.tolist() if number not in explored]
            if not waiting:
                break
            centre = waiting[rng.integers(len(waiting))]
            explored.add(centre)
            around = neighbours()[centre]
            queries.extend(around.tolist())
            candidates = np.union1d(archive, around)
            archive = candidates[non_dominated(scores[candidates])]
    return list(queries)


class _Queries(dict[int, None]):
    """What was queried so far, in this order: different ids, at most `budget` of them."""

    def __init__(self, budget: int, rng: np.random.Generator):
        self._budget, self._rng = min(budget, SIZE), rng

    @property
    def spent(self) -> bool:
        return len(self) >= self._budget

    def start(self) -> int:
        """Queries a random architecture that is new."""
        while (number := int(self._rng.integers(SIZE))) in self:
            pass
        self.extend([number])
        return number

    def extend(self, numbers: Iterable[int]) -> None:
        """Queries those that are new, in random order, as far as the budget allows."""
        new = [number for number in numbers if number not in self]
        order = self._rng.permutation(len(new))[: self._budget - len(self)]
        self.update(dict.fromkeys(new[i] for i in order))


# -- simulation ------------------------------------------------------------------------------------------

ALGORITHMS: dict[str, tuple[Search, Search]] = {  # for one objective, and for several
    "random": (random_search, random_search),
    "evolution": (evolution, evolution),
    "local_search": (local_search, pareto_local_search),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Simulation:
    """Repeated searches."""

    objectives: tuple[str, ...]  # columns that were searched on
    algorithm: str  # of `ALGORITHMS`
    seed: int  # of all repeats; repeat r draws from a generator seeded by (seed, r)
    scores: np.ndarray  # [15625, d], larger is better: accuracies, and negative costs
    queries: np.ndarray  # [repeats, budget] ids in the order of query

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
    """Searches a complete table `repeats` times, each time by `budget` queries; see `Simulation`.

    Several objectives make it a search for the Pareto front.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"no algorithm is named {algorithm!r}; there are {', '.join(ALGORITHMS)}.")
    if len(set(objectives)) != len(objectives) or not objectives:
        raise ValueError(f"objectives {', '.join(objectives) or 'none'}: expected one or more different columns.")
    if repeats < 1 or seed < 0:
        raise ValueError(f"repeats={repeats}, seed={seed}: expected at least 1 repeat and a seed from 0.")
    scores = np.stack([table.scores(name) for name in objectives], axis=1)
    constant = [name for name, column in zip(objectives, scores.T, strict=True) if np.ptp(column) == 0]
    if constant and len(objectives) > 1:
        raise ValueError(f"{', '.join(constant)}: the same for all architectures, so nothing can be traded for it.")
    if not 1 <= budget <= len(scores):
        raise ValueError(f"budget={budget}: expected 1 to {len(scores)} queries.")
    search = ALGORITHMS[algorithm][len(objectives) > 1]
    queries = [search(scores, budget, np.random.default_rng([seed, repeat])) for repeat in range(repeats)]
    return Simulation(tuple(objectives), algorithm, seed, scores, np.array(queries))


def spaced(budget: int, points: int = 200) -> np.ndarray:
    """Returns at most `points` numbers of queries from 1 to `budget`, evenly spaced, both ends among them."""
    return np.unique(np.linspace(1, budget, min(points, budget)).round().astype(int))


def expected_best(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Expected best [P] of `numbers` [P] of uniform draws from `scores` [N], exactly: what random search reaches.

    E max = sum over i of v_(i) ((i / N)^B - ((i - 1) / N)^B), for the N scores in ascending order and B draws.
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


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Marks [n] those of `points` [n, d] than which no other is as good in every objective and better in one.

    Larger is better; equal points share their mark.
    """
    left = np.lexsort(points.T)[::-1]  # what dominates comes first, equal points stand together
    first = 0
    while first < len(left):
        point = points[left[first]]
        equal = (points[left] == point).all(1)
        left = left[equal | (points[left] > point).any(1)]
        first += equal.sum()
    return np.isin(np.arange(len(points)), left)
