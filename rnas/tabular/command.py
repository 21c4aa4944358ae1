"""`rnas tabular`: questions to a table, each answered by one object, in text or as JSON; and how tables are made."""

import argparse
from collections.abc import Callable, Sequence
import json
from pathlib import Path
import re
from typing import Any

import numpy as np

from rnas.files import write_arrays, write_json
from rnas.spaces import nasbench201
from rnas.tabular import ranks, results, simulation
from rnas.tabular.reading import load_robbench
from rnas.tabular.table import RobBench, is_cost

Answer = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the questions, and what makes a table, to the parser of `rnas tabular`."""
    questions = parser.add_subparsers(dest="question", required=True, metavar="question")

    def question(name: str, description: str, answer: Callable, show: Callable) -> Callable:
        made = questions.add_parser(name, help=description, description=description)
        made.set_defaults(act=_ask, answer=answer, show=show)
        add = made.add_argument
        add("--table", required=True, metavar="FILE", help="table of means or of runs, or the folder that holds it")
        add("--standard", metavar="FILE", help="also the table after standard training, as <data set>/standard_…")
        add("--scores", metavar="FILE", help="also another table of runs, as <data set>/score_…")
        add("--partial", action="store_true", help="the table of runs may lack classes, data sets, metrics")
        add("--json", action="store_true", help="print one JSON object")
        return add

    add = question("query", "all figures of one architecture", query, _show_query)
    add("--arch", required=True, help="id, six-digit code, or string of NAS-Bench-201")

    add = question("rank", "the best cells by a column, and a summary of all columns", rank, _show_rank)
    add("--by", default="cifar10/pgd_8", metavar="COLUMN", help="default: cifar10/pgd_8")
    add("--top", type=int, default=10, metavar="N", help="number of cells; default: 10")

    add = question("correlate", "rank correlations between columns", correlate, _show_correlate)
    add("--columns", metavar="A,B,…", help="default: every accuracy")
    add("--best", type=float, default=1.0, metavar="SHARE", help="only that share of the classes; default: 1")
    add("--by", default="cifar10/clean", metavar="COLUMN", help="best by what; default: cifar10/clean")

    add = question("search", "search algorithms, simulated many times", search, _show_search)
    add("--algorithm", required=True, choices=simulation.ALGORITHMS)
    add(
        "--objective",
        default="cifar10/pgd_8",
        metavar="COLUMN",
        help="any column, costs too; several, joined by commas, make it a search for the Pareto front",
    )
    add("--budget", type=int, default=150, metavar="N", help="queries of each search; default: 150")
    add("--repeats", type=int, default=200, metavar="N", help="number of searches; default: 200")
    add("--seed", type=int, default=0, help="of all searches; default: 0")
    add("--plot", metavar="FILE", help="draw the learning curve as a PNG")
    add("--trajectories", metavar="FILE", help="write the queried ids [repeats, budget] as an .npz")

    words = "train the networks of a table adversarially and attack them, or a shard of them"
    made = questions.add_parser(
        "train",
        help=words,
        description=words,
        epilog="Any configuration key can be changed with --config.key=value. Started again, it goes on.",
    )
    made.set_defaults(act=_train)
    made.add_argument("--config", required=True, metavar="FILE[:ARG]", help="configuration file")
    made.add_argument("--workdir", metavar="DIR", help="shared by all shards; default: runs/robbench_<config>")
    made.add_argument("--shard", default="0/1", metavar="I/N", help="share I of N, I from 0; default: 0/1, all")

    words = "write the results of `train` as one table, which the questions take as --table"
    made = questions.add_parser("merge", help=words, description=words)
    made.set_defaults(act=_merge)
    made.add_argument("workdir", nargs="+", metavar="DIR", help="work directory of `train`")
    made.add_argument("--output", required=True, metavar="FILE", help="the table")
    made.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace, overrides: Sequence[str] = ()) -> int:
    """Answers a question on standard output, or makes a table; returns the exit code.

    Args:
      overrides: `--config.key=value`, of `train` alone.

    Raises:
      ValueError: a file, an architecture, a column or a number that cannot be; says which.
      OSError: a file that could not be written.
      Interrupted: a training that was asked to stop.
    """
    if overrides and arguments.act is not _train:
        raise ValueError(f"{overrides[0]}: only `rnas tabular train` has a configuration.")
    return arguments.act(arguments, overrides)


# -- tables ----------------------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    shard = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
    if not shard:
        raise ValueError(f"--shard={arguments.shard}: expected I/N, such as 0/8.")
    # Imported late: the questions need no device.
    from rnas import platform
    from rnas.configuration import load_config
    from rnas.tabular.training import train_table
    from rnas.training.interruption import interruptible

    platform.prepare()
    config = load_config(arguments.config, list(overrides))
    name, _, argument = arguments.config.partition(":")
    workdir = arguments.workdir or Path("runs") / "_".join(filter(None, ["robbench", Path(name).stem, argument]))
    with interruptible():
        train_table(config, Path(workdir), *map(int, shard.groups()))
    return 0


def _merge(arguments: argparse.Namespace, _: Sequence[str]) -> int:
    content = results.merge(arguments.workdir)
    write_json(arguments.output, content)
    table = load_robbench(arguments.output, partial=True)
    answer = {
        "table": {"source": table.source, "sha256": table.sha256, "classes": len(table.ids)},
        "datasets": {dataset: len(entries) for dataset, entries in content.items()},
    }
    found = ", ".join(f"{count} classes of {dataset}" for dataset, count in answer["datasets"].items())
    print(json.dumps(answer) if arguments.json else f"{table.source}: {found}")
    return 0


def _ask(arguments: argparse.Namespace, _: Sequence[str]) -> int:
    table = load_robbench(arguments.table, standard=arguments.standard, partial=arguments.partial)
    if arguments.scores:
        table = table.joined(load_robbench(arguments.scores, partial=True), "score")
    answer = {"table": {"source": table.source, "sha256": table.sha256, "classes": len(table.ids)}}
    answer |= arguments.answer(table, arguments)
    print(json.dumps(answer, allow_nan=False) if arguments.json else arguments.show(answer))
    return 0


# -- answers ---------------------------------------------------------------------------------------------


def query(table: RobBench, arguments: argparse.Namespace) -> Answer:
    """Names, class and every figure of one architecture, with the rank of its class."""
    number = nasbench201.identify(arguments.arch)
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
        **_names(number),
        "string": nasbench201.to_string(number),
        "canonical": canonical,
        "class_size": len(members),
        "values": values,
        "ranks": places,
        "runs": runs,
    }


def rank(table: RobBench, arguments: argparse.Namespace) -> Answer:
    """The first cells by a column, the operations on their edges, and median, mean and best of every column."""
    if arguments.top < 1:
        raise ValueError(f"--top={arguments.top}: expected at least 1.")
    ordered = ranks.ranking(table, arguments.by)[: arguments.top]
    columns = {name: table.column(name) for name in table.columns}
    cells = []
    for place, number in enumerate(ordered, start=1):
        row = table.ids.index(number)
        figures = {name: column[row].item() for name, column in columns.items() if np.isfinite(column[row])}
        cells.append({"rank": place, **_names(number), "values": figures})
    return {
        "by": arguments.by,
        "top": cells,
        "operations": ranks.count_operations(ordered),
        "summary": {name: ranks.summarize(table, name)._asdict() for name in columns},
    }


def correlate(table: RobBench, arguments: argparse.Namespace) -> Answer:
    """Spearman's and Kendall's coefficient of every pair of columns; null where a column is constant."""
    given = arguments.columns
    names = given.split(",") if given else [name for name in table.columns if not is_cost(name)]
    ids = ranks.best_share(table, arguments.by, arguments.best) if arguments.best != 1 else None
    size = len(names)
    found = [[ranks.correlate(table, names[i], names[j], ids=ids) for j in range(i + 1)] for i in range(size)]
    whole = [[found[max(i, j)][min(i, j)] for j in range(size)] for i in range(size)]
    return {
        "columns": names,
        "best": arguments.best,
        "by": arguments.by if ids else None,
        **{
            kind: [[_finite(getattr(pair, kind)) for pair in row] for row in whole]
            for kind in ("spearman", "kendall", "count")
        },
    }


def search(table: RobBench, arguments: argparse.Namespace) -> Answer:
    """What simulated searches choose and reach; see `rnas.tabular.simulation`."""
    objectives = arguments.objective.split(",")
    done = simulation.simulate(
        table,
        objectives,
        arguments.algorithm,
        budget=arguments.budget,
        repeats=arguments.repeats,
        seed=arguments.seed,
    )
    answer = {
        "algorithm": arguments.algorithm,
        "objectives": objectives,
        "budget": arguments.budget,
        "repeats": arguments.repeats,
        "seed": arguments.seed,
    }
    if arguments.trajectories:
        write_arrays(arguments.trajectories, {"queries": done.queries})
    answer |= (_single if len(objectives) == 1 else _several)(table, done)
    if arguments.plot:
        _plot(answer, arguments.plot)
    return answer


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
            **_names(best),
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
            {**_names(number), "values": {name: table.query(number, *name.split("/")) for name in done.objectives}}
            for number in front[np.argsort(-done.scores[front, 0], kind="stable")].tolist()
        ],
        "curve": _curve(volumes, numbers),
    }


def _names(number: int) -> Answer:
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


def _plot(answer: Answer, file: str) -> None:
    from rnas.tabular.plot import plot_search

    curve = answer["curve"]
    quantiles = np.array(list(curve["quantiles"].values()))
    drawn = simulation.Curve(np.array(curve["queries"]), np.array(curve["mean"]), quantiles)
    if "optimum" in answer:
        label, best = answer["objectives"][0], answer["optimum"]["value"]
        expected = (drawn.queries, np.array(curve["random_search"]))
    else:
        label, best, expected = "Share of the hypervolume of the table's front", 1.0, None
    picture = plot_search({answer["algorithm"]: drawn}, label, best=best, expected=expected)
    Path(file).write_bytes(picture.png)


# -- text ------------------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value > 1 else f"{value:.4f}"


def _show_query(answer: Answer) -> str:
    lines = [
        f"id {answer['id']}, code {answer['code']}",
        answer["string"],
        f"class of id {answer['canonical']}, {answer['class_size']} cells",
    ]
    for name, value in answer["values"].items():
        place = f"  rank {answer['ranks'][name]:,}" if name in answer["ranks"] else ""
        runs = ", ".join(f"{run:.4f} (seed {seed})" for seed, run in answer["runs"].get(name, {}).items())
        lines.append(f"  {name:32} {_number(value):>12}{place}{'  ' + runs if runs else ''}")
    return "\n".join(lines)


def _show_rank(answer: Answer) -> str:
    dataset = answer["by"].partition("/")[0]
    shown = [name for name in answer["summary"] if name.startswith(f"{dataset}/")]
    lines = [
        f"best by {answer['by']}",
        f"{'rank':>5} {'id':>6} {'code':>7}  " + " ".join(f"{n.partition('/')[2]:>12}" for n in shown),
    ]
    for cell in answer["top"]:
        figures = " ".join(f"{_number(cell['values'][n]) if n in cell['values'] else '':>12}" for n in shown)
        lines.append(f"{cell['rank']:5} {cell['id']:6} {cell['code']:>7}  {figures}")
    lines.append("operations on their edges: " + ", ".join(f"{n} {count}" for n, count in answer["operations"].items()))
    lines += ["", f"{'column':32} {'median':>12} {'mean':>12} {'best':>12}  {'of id':>6}"]
    for name, row in answer["summary"].items():
        figures = " ".join(f"{_number(row[key]):>12}" for key in ("median", "mean", "best"))
        lines.append(f"{name:32} {figures}  {row['best_id']:6}")
    return "\n".join(lines)


def _show_correlate(answer: Answer) -> str:
    names = answer["columns"]
    of = f"best {answer['best']:.0%} by {answer['by']}" if answer["by"] else "all classes"
    lines = [f"rank correlations, {of}: Spearman above the diagonal, Kendall below"]
    lines.append(" " * 36 + " ".join(f"{j + 1:>6}" for j in range(len(names))))
    for i, name in enumerate(names):
        cells = [answer["spearman" if j > i else "kendall"][i][j] if j != i else None for j in range(len(names))]
        row = " ".join(f"{'-' if cell is None else format(cell, '.3f'):>6}" for cell in cells)
        lines.append(f"{i + 1:3} {name:32}{row}")
    return "\n".join(lines)


def _show_search(answer: Answer) -> str:
    lines = [
        f"{answer['algorithm']} on {', '.join(answer['objectives'])}: {answer['repeats']} searches of "
        f"{answer['budget']} queries, seed {answer['seed']}"
    ]

    def spread(name, figures):
        return f"  {name:32} {_number(figures['mean']):>12} ± {_number(figures['std'])}"

    if "optimum" in answer:
        best = answer["optimum"]
        lines += [spread(name, figures) for name, figures in answer["chosen"].items()]
        lines.append(f"best of the table: {_number(best['value'])}, id {best['id']} ({best['code']})")
        when = f", after {best['queries']['mean']:.0f} queries on average" if best["queries"] else ""
        lines.append(f"reached by {best['reached']:.1%}{when}; regret {_number(answer['regret']['mean'])}")
        lines.append(f"random search reaches {_number(answer['random_search'])} on average (exact)")
    else:
        lines.append(spread("share of the hypervolume", answer["hypervolume"]))
        lines.append(spread("share of the front found", answer["front_found"]))
        lines.append("front of the table")
        for cell in answer["front"]:
            figures = " ".join(f"{_number(value):>12}" for value in cell["values"].values())
            lines.append(f"{cell['id']:7} {cell['code']:>7} {figures}")
    return "\n".join(lines)
