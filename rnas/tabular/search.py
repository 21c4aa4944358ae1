"""Search algorithms on the table. Each function is one search: (scores, budget, rng) → ids in the order of query.

`scores` are [15625, d], larger is better in each of d objectives; `budget` is the number of queries; `rng` draws. The
space is that of the 15,625 encodings, not of their classes. Budgets and settings of the published comparison (arXiv
2403.13134) are not known; those here are stated at each function.
"""

from collections.abc import Callable, Iterable

import numpy as np

from rnas.spaces.nasbench201 import SIZE, neighbours

POPULATION, SAMPLE = 50, 10  # of `evolution`

Search = Callable[[np.ndarray, int, np.random.Generator], list[int]]


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
    return queries.made


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
    return queries.made


class _Queries:
    """What was queried so far: different ids, at most `budget` of them."""

    def __init__(self, budget: int, rng: np.random.Generator):
        self.made: list[int] = []
        self._known: set[int] = set()
        self._budget, self._rng = min(budget, SIZE), rng

    @property
    def spent(self) -> bool:
        return len(self.made) >= self._budget

    def start(self) -> int:
        """Queries a random architecture that is new."""
        while (number := int(self._rng.integers(SIZE))) in self._known:
            pass
        self.extend([number])
        return number

    def extend(self, numbers: Iterable[int]) -> None:
        """Queries those that are new, in random order, as far as the budget allows."""
        new = [number for number in numbers if number not in self._known]
        new = [new[i] for i in self._rng.permutation(len(new))][: self._budget - len(self.made)]
        self._known.update(new)
        self.made += new


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
