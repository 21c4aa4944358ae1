"""Questions to a table, each answered by one object that JSON can hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnas.spaces import nasbench201
from rnas.tabular import ranks, simulation
from rnas.tabular.rank_correlation import correlation
from rnas.tabular.table import RobBench, is_cost

Answer = dict[str, Any]


def query(table: RobBench, arch: nasbench201.Arch) -> Answer:
    """Names, class and every figure of one architecture, with the rank of its class."""
    number = nasbench201.identify(arch)
    canonical = table.canonical(number)
    row = table.ids.index(canonical) if canonical in table.ids else None
    values, places, runs = {}, {}, {}
    for name in table.columns:
        column = table.column(name)
        if is_cost(name):
            values[name] = table.query(number, *name.split("/"))
        elif row is not None and np.isfinite(column[row]):
            values[name] = column[row].item()
            places[name] = 1 + (column > column[row]).sum().item()
            for seed, run in table.seeds.get(name, {}).items():
                if np.isfinite(run[row]):
                    runs.setdefault(name, {})[seed] = run[row].item()
    members = np.flatnonzero(nasbench201.representatives() == canonical)
    return {
        **names_of(number),
        "string": nasbench201.to_string(number),
        "canonical": canonical,
        "class_size": len(members),
        "values": values,
        "ranks": places,
        "runs": runs,
    }


def rank(table: RobBench, by: str, top: int) -> Answer:
    """The first cells by a column, the operations on their edges, and median, mean and best of every column."""
    ordered = ranks.ranking(table, by)[:top]
    columns = {name: table.column(name) for name in table.columns}
    cells = []
    for place, number in enumerate(ordered, start=1):
        row = table.ids.index(number)
        figures = {name: column[row].item() for name, column in columns.items() if np.isfinite(column[row])}
        cells.append({"rank": place, **names_of(number), "values": figures})
    return {
        "by": by,
        "top": cells,
        "operations": ranks.count_operations(ordered),
        "summary": {name: ranks.summarize(table, name)._asdict() for name in columns},
    }


def front(table: RobBench, columns: Sequence[str]) -> Answer:
    """The classes than which no other is as good in every column and better in one, best by the first column first."""
    points = np.stack([(-1 if is_cost(name) else 1) * table.column(name) for name in columns], axis=1)
    known = np.flatnonzero(np.isfinite(points).all(1))
    members = known[simulation.non_dominated(points[known])]
    members = members[np.lexsort(-points[members].T[::-1])]
    return {
        "columns": list(columns),
        "count": len(known),
        "members": [
            {**names_of(table.ids[row]), "values": {name: table.column(name)[row].item() for name in columns}}
            for row in members.tolist()
        ],
    }


def correlate(table: RobBench, columns: Sequence[str] = (), *, best: float = 1.0, by: str = "cifar10/clean") -> Answer:
    """Spearman's and Kendall's coefficient of every pair of columns; null where a column is constant."""
    names = list(columns) or [name for name in table.columns if not is_cost(name)]
    ids = ranks.best_share(table, by, best) if best != 1 else None
    size = len(names)
    found = [[ranks.correlate(table, names[i], names[j], ids=ids) for j in range(i + 1)] for i in range(size)]
    whole = [[found[max(i, j)][min(i, j)] for j in range(size)] for i in range(size)]
    return {
        "columns": names,
        "best": best,
        "by": by if ids else None,
        **{
            kind: [[_finite(getattr(pair, kind)) for pair in row] for row in whole]
            for kind in ("spearman", "kendall", "count")
        },
    }


def search(table: RobBench, done: simulation.Simulation) -> Answer:
    """What simulated searches chose and reached; see `rnas.tabular.simulation`."""
    repeats, budget = done.queries.shape
    answer = {
        "algorithm": done.algorithm,
        "objectives": list(done.objectives),
        "budget": budget,
        "repeats": repeats,
        "seed": done.seed,
    }
    return answer | (_single if len(done.objectives) == 1 else _several)(table, done)


def _single(table: RobBench, done: simulation.Simulation) -> Answer:
    (objective,) = done.objectives
    sign = -1 if is_cost(objective) else 1
    scores = done.scores[:, 0]
    chosen = done.chosen()[:, -1]
    numbers = simulation.spaced(done.queries.shape[1])
    best = int(np.flatnonzero(scores == scores.max())[0])
    when = done.queries_to_optimum()
    reached = np.isfinite(when)
    expected = simulation.expected_best(scores, numbers)
    return {
        "chosen": {name: _spread((-1 if is_cost(name) else 1) * table.scores(name)[chosen]) for name in table.columns},
        "optimum": {
            **names_of(best),
            "value": sign * scores.max(),
            "reached": reached.mean(),
            "queries": _spread(when[reached]) if reached.any() else None,
        },
        "regret": _spread(scores.max() - scores[chosen]),
        "random_search": sign * expected[-1],
        "curve": {
            **_curve(sign * done.reached()[:, numbers - 1], numbers),
            "random_search": (sign * expected).tolist(),
        },
    }


def _several(table: RobBench, done: simulation.Simulation) -> Answer:
    budget = done.queries.shape[1]
    numbers = simulation.spaced(budget, points=15)
    volumes = done.hypervolumes(numbers)
    front = np.flatnonzero(simulation.non_dominated(done.scores))
    _, first = np.unique(done.scores[front], axis=0, return_index=True)
    front = front[first]
    return {
        "hypervolume": _spread(volumes[:, -1]),
        "front_found": _spread(done.front_shares()),
        "front": [
            {**names_of(number), "values": {name: table.query(number, *name.split("/")) for name in done.objectives}}
            for number in front[np.argsort(-done.scores[front, 0], kind="stable")].tolist()
        ],
        "curve": _curve(volumes, numbers),
    }


def judge(table: RobBench, probabilities: Sequence[Sequence[float]], by: str) -> Answer:
    """What a search by probabilities is worth: the cell it found, and the order in which it puts all cells.

    The space is that of the 15,625 cells, as far as the table has their class.

    Args:
      probabilities: [6, 5], of the operations on each edge.
      by: column that places and chances are about.
    """
    found = nasbench201.most_probable(probabilities)
    logs = nasbench201.log_probabilities(probabilities)
    known = np.isin(nasbench201.representatives(), table.ids)
    rows = np.searchsorted(table.ids, nasbench201.representatives()[known])
    chances = np.exp(logs[known])
    agreement, expected = {}, {}
    for name in dict.fromkeys((by, *(name for name in table.columns if not is_cost(name)))):
        values = table.column(table.check_column(name))[rows]
        has = np.isfinite(values)
        agreement[name] = _coefficients(logs[known][has], values[has])
        expected[name] = {
            "uniform": values[has].mean().item(),
            "searched": np.average(values[has], weights=chances[has]).item() if chances[has].any() else None,
        }
    values = table.column(by)[rows]
    values = values[np.isfinite(values)]
    answer = query(table, found)
    own = answer["values"].get(by)
    better = (values < own if is_cost(by) else values > own) if own is not None else None
    return {
        "by": by,
        "found": answer,
        "better": None if better is None else better.mean().item(),
        "probability": float(np.exp(logs[found])),
        "agreement": agreement,
        "expected": expected,
    }


def _coefficients(one: np.ndarray, other: np.ndarray) -> Answer:
    pair = correlation(one, other)
    return {"spearman": _finite(pair.spearman), "kendall": _finite(pair.kendall), "count": pair.count}


def names_of(number: int) -> Answer:
    return {"id": number, "code": nasbench201.to_code(number)}


def _spread(values: np.ndarray) -> Answer:
    """Mean, standard deviation (of the sample: divided by n) and standard error of the mean."""
    return {"mean": values.mean(), "std": values.std(), "standard_error": values.std() / len(values) ** 0.5}


def _curve(values: np.ndarray, numbers: np.ndarray) -> Answer:
    queries, mean, quantiles = simulation.curve(values, numbers)
    return {
        "queries": queries.tolist(),
        "mean": mean.tolist(),
        "quantiles": {str(q): row.tolist() for q, row in zip(simulation.QUANTILES, quantiles, strict=True)},
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
