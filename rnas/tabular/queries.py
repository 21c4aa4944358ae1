"""Queries to a table; each function returns one object that JSON can hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnas.spaces import nasbench201
from rnas.tabular import ranks, simulation
from rnas.tabular.table import RobBench, is_cost

Answer = dict[str, Any]
KINDS = ("spearman", "kendall", "count")
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)  # of curves, over repeats


def cell(table: RobBench, arch: nasbench201.Arch) -> Answer:
    """Returns names, class and every figure of one architecture, with the rank of its class."""
    number, canonical = nasbench201.identify(arch), nasbench201.canonical(arch)
    row = table.ids.index(canonical) if canonical in table.ids else None
    values, places, runs = {}, {}, {}
    for name in table.columns:
        column = table.column(name)
        if is_cost(name):
            values[name] = table.query(number, *name.split("/"))
        elif row is not None and np.isfinite(column[row]):
            values[name] = column[row].item()
            places[name] = 1 + (column > column[row]).sum().item()
            seeds = table.seeds.get(name, {}).items()
            if found := {seed: run[row].item() for seed, run in seeds if np.isfinite(run[row])}:
                runs[name] = found
    return {
        **names_of(number),
        "string": nasbench201.to_string(number),
        "canonical": canonical,
        "class_size": (nasbench201.representatives() == canonical).sum().item(),
        "values": values,
        "ranks": places,
        "runs": runs,
    }


def rank(table: RobBench, by: str, top: int) -> Answer:
    """Returns the best cells by a column, the operations on their edges, and a summary of every column."""
    if top < 1:
        raise ValueError(f"top={top}: expected at least 1 cell.")
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
        "summary": {
            name: ranks.summarize(table, name)._asdict() for name in columns if np.isfinite(columns[name]).any()
        },
    }


def front(table: RobBench, columns: Sequence[str]) -> Answer:
    """Returns the Pareto front, best by the first column first: no other class is as good in all and better in one."""
    points = np.stack([_sign(name) * table.column(name) for name in columns], axis=1)
    known = np.flatnonzero(np.isfinite(points).all(1))
    members = known[simulation.non_dominated(points[known])]
    ordered = members[np.lexsort(-points[members].T[::-1])].tolist()
    cells = [_point(table, table.ids[row], columns) for row in ordered]
    return {"columns": list(columns), "count": len(known), "members": cells}


def correlate(table: RobBench, columns: Sequence[str] = (), *, best: float = 1.0, by: str = "cifar10/clean") -> Answer:
    """Returns Spearman's and Kendall's coefficient of every pair of columns; None where a column is constant.

    Args:
      columns: default: every accuracy.
      best: share of the classes that count.
      by: column that decides which classes are best.
    """
    names = list(columns or table.values)
    ids = ranks.best_share(table, by, best) if best != 1 else None
    size = len(names)
    found = [[ranks.correlate(table, names[i], names[j], ids=ids) for j in range(i + 1)] for i in range(size)]
    whole = [[found[max(i, j)][min(i, j)] for j in range(size)] for i in range(size)]
    tables = {kind: [[_finite(getattr(pair, kind)) for pair in row] for row in whole] for kind in KINDS}
    return {"columns": names, "best": best, "by": by if ids else None, **tables}


def search(table: RobBench, done: simulation.Simulation) -> Answer:
    """Returns what simulated searches chose and reached; see `rnas.tabular.simulation`."""
    repeats, budget = done.queries.shape
    reached = _several(table, done) if len(done.objectives) > 1 else _single(table, done)
    answer = {"algorithm": done.algorithm, "objectives": list(done.objectives)}
    return {**answer, "budget": budget, "repeats": repeats, "seed": done.seed, **reached}


def _single(table: RobBench, done: simulation.Simulation) -> Answer:
    (objective,) = done.objectives
    sign, scores = _sign(objective), done.scores[:, 0]
    chosen = done.chosen()[:, -1]
    numbers = simulation.spaced(done.queries.shape[1])
    when = done.queries_to_optimum()
    reached = np.isfinite(when)
    expected = simulation.expected_best(scores, numbers)
    return {
        "chosen": {name: _spread(_sign(name) * table.scores(name)[chosen]) for name in table.columns},
        "optimum": {
            **names_of(int(scores.argmax())),
            "value": sign * scores.max(),
            "reached": reached.mean(),
            "queries": _spread(when[reached]) if reached.any() else None,
        },
        "regret": _spread(scores.max() - scores[chosen]),
        "random_search": sign * expected[-1],
        "curve": _curve(sign * done.reached()[:, numbers - 1], numbers) | {"random_search": (sign * expected).tolist()},
    }


def _several(table: RobBench, done: simulation.Simulation) -> Answer:
    numbers = simulation.spaced(done.queries.shape[1], points=15)
    volumes = done.hypervolumes(numbers)
    front = np.flatnonzero(simulation.non_dominated(done.scores))
    _, first = np.unique(done.scores[front], axis=0, return_index=True)
    ordered = front[first][np.argsort(-done.scores[front[first], 0], kind="stable")].tolist()
    return {
        "hypervolume": _spread(volumes[:, -1]),
        "front_found": _spread(done.front_shares()),
        "front": [_point(table, number, done.objectives) for number in ordered],
        "curve": _curve(volumes, numbers),
    }


def judge(table: RobBench, probabilities: Sequence[Sequence[float]], by: str) -> Answer:
    """Returns the quality of a search by probabilities: the cell it found, and the order in which it puts all cells.

    The space is that of the 15,625 cells, as far as the table has their class. `probabilities` are [6, 5], of the
    operations on each edge; `by` is the column that the found cell is compared by.
    """
    found = nasbench201.most_probable(probabilities)
    logs = nasbench201.log_probabilities(probabilities)
    known = np.isin(nasbench201.representatives(), table.ids)
    rows = np.searchsorted(table.ids, nasbench201.representatives()[known])
    chances = np.exp(logs[known])
    agreement, expected = {}, {}
    for name in dict.fromkeys((by, *table.values)):
        values = table.column(table.check_column(name))[rows]
        has = np.isfinite(values)
        pair = ranks.correlation(logs[known][has], values[has])
        agreement[name] = {kind: _finite(getattr(pair, kind)) for kind in KINDS}
        expected[name] = {
            "uniform": values[has].mean().item() if has.any() else None,
            "searched": np.average(values[has], weights=chances[has]).item() if chances[has].any() else None,
        }
    values = table.column(by)[rows]
    answer = cell(table, found)
    own = answer["values"].get(by)
    better = None if own is None else _sign(by) * values[np.isfinite(values)] > _sign(by) * own
    return {
        "by": by,
        "found": answer,
        "better": None if better is None else better.mean().item(),
        "probability": float(np.exp(logs[found])),
        "agreement": agreement,
        "expected": expected,
    }


def overview(
    table: RobBench, by: str, *, top: int = 10, best: float | None = 0.2, searches: Mapping[str, int] | None = None
) -> Answer:
    """Returns what a page shows of a table: front, ranking, agreement of columns, and searches where it is complete.

    Args:
      by: an accuracy, best a robust one; clean accuracy is that of its data set.
      top: number of cells.
      best: share of the classes, by clean accuracy, whose agreement is looked at alone; None: of no share.
      searches: 'budget', 'repeats' and 'seed' of `rnas.tabular.simulation.simulate`; None: no searches.
    """
    if is_cost(by):
        raise ValueError(f"{by} is a cost; expected a column of accuracies.")
    clean = table.check_column(f"{table.check_column(by).partition('/')[0]}/clean")
    shown = front(table, (clean, by))
    in_common = np.isfinite(list(table.values.values())).all(0).sum()
    complete = all(np.isfinite(table.column(name)).sum() == len(nasbench201.classes()) for name in (clean, by))
    algorithms, settings = (simulation.ALGORITHMS, searches) if searches and complete else ((), {})
    among_best = None
    if best and best * shown["count"] >= 3 and by != clean:
        among_best = correlate(table, (clean, by), best=best, by=clean)
    return {
        "front": shown,
        "rank": rank(table, by, top),
        "agreement": correlate(table) if len(table.values) > 1 and in_common > 2 else None,
        "best": among_best,
        "searches": [search(table, simulation.simulate(table, [by], name, **settings)) for name in algorithms],
    }


def _sign(column: str) -> int:
    return -1 if is_cost(column) else 1


def names_of(number: int) -> Answer:
    return {"id": number, "code": nasbench201.to_code(number)}


def _point(table: RobBench, number: int, columns: Sequence[str]) -> Answer:
    return {**names_of(number), "values": {name: table.query(number, *name.split("/")) for name in columns}}


def _spread(values: np.ndarray) -> Answer:
    """Mean, standard deviation (of the sample: divided by n) and standard error of the mean."""
    return {"mean": values.mean(), "std": values.std(), "standard_error": values.std() / len(values) ** 0.5}


def _curve(values: np.ndarray, numbers: np.ndarray) -> Answer:
    """Mean and quantiles over repeats of `values` [repeats, P], reached after `numbers` [P] queries."""
    quantiles = dict(zip(map(str, QUANTILES), np.quantile(values, QUANTILES, axis=0).tolist(), strict=True))
    return {"queries": numbers.tolist(), "mean": values.mean(0).tolist(), "quantiles": quantiles}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
