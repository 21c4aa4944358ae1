"""`rnas tabular`: queries to a table, answered in text or as JSON, and the making of tables."""

import argparse
from collections.abc import Callable, Mapping, Sequence
import json
from pathlib import Path
import sys

from rnas.artifacts.failure import forget_failures
from rnas.artifacts.files import read_object, write_arrays, write_json
from rnas.artifacts.table_results import merge
from rnas.cli.arguments import add_shared, read_config, read_shard
from rnas.spaces import nasbench201
from rnas.tabular import queries, simulation
from rnas.tabular.queries import Answer
from rnas.tabular.reading import load_robbench
from rnas.tabular.table import RobBench
from rnas.training.messages import tell, terminal_width
from rnas.training.text_table import text_table

BY = "cifar10/pgd_8"
EXAMPLE = "query --table=robbench.json --arch=9930"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the queries, and what makes a table, to the parser of `rnas tabular`."""
    actions = parser.add_subparsers(dest="query", required=True, metavar="query")

    def query(name: str, description: str, answer: Callable, show: Callable) -> Callable:
        made = actions.add_parser(name, help=description, description=description)
        made.set_defaults(act=_answer, answer=answer, show=show)
        add = made.add_argument
        add("--table", required=True, metavar="FILE", help="table of means or of runs, or its folder")
        add("--standard", metavar="FILE", help="also the table after standard training, as <data set>/standard_…")
        add("--scores", metavar="FILE", help="also another table of runs, as <data set>/score_…")
        add_shared(made, "--partial", "--json")
        return add

    def add_searches(add: Callable) -> None:
        add("--budget", type=int, default=150, metavar="N", help="queries of each search; default: 150")
        add("--repeats", type=int, default=200, metavar="N", help="searches by each algorithm; default: 200")
        add("--seed", type=int, default=0, help="of all searches; default: 0")

    words = "all figures of one architecture"
    add = query("query", words, lambda table, its: queries.cell(table, its.arch), _show_cell)
    add("--arch", required=True, help="id, six-digit code, or string of NAS-Bench-201")

    words = "the best cells by a column, and a summary of all columns"
    add = query("rank", words, lambda table, its: queries.rank(table, its.by, its.top), _show_rank)
    add("--by", default=BY, metavar="COLUMN", help=f"default: {BY}")
    add("--top", type=int, default=10, metavar="N", help="number of cells; default: 10")

    add = query("correlate", "rank correlations between columns", _correlate, _show_correlate)
    add("--columns", metavar="A,B,…", help="default: every accuracy")
    add("--best", type=float, default=1.0, metavar="SHARE", help="only this share of the classes; default: 1")
    add("--by", default="cifar10/clean", metavar="COLUMN", help="which classes are best; default: cifar10/clean")

    add = query("search", "simulate a search algorithm many times", _search, _show_search)
    add("--algorithm", required=True, choices=simulation.ALGORITHMS)
    words = "any column, costs too; several, joined by commas, make it a search for the Pareto front"
    add("--objective", default=BY, metavar="COLUMN", help=words)
    add_searches(add)
    add("--plot", metavar="FILE", help="draw the learning curve as a PNG")
    add("--trajectories", metavar="FILE", help="write the queried ids [repeats, budget] as an .npz")

    words = "the cell that a search by gradients found, and the rank correlation of its probabilities with the table"
    add = query("judge", words, _judge, _show_judge)
    add("--workdir", required=True, metavar="DIR", help="of a run with --config.space=nasbench201")
    add("--by", default=BY, metavar="COLUMN", help=f"default: {BY}")

    add = query("report", "write a page: front, best cells, agreement of columns, searches", _report, _show_report)
    add("--by", default=BY, metavar="COLUMN", help=f"robust accuracy; default: {BY}")
    add_searches(add)
    words = "the page, such as report.html; a folder beside it holds its files"
    add("--output", required=True, metavar="FILE", help=words)

    words = "train the networks of a table, or a share of them, adversarially and attack them"
    made = actions.add_parser("train", help=words, description=words)
    made.set_defaults(act=_train)
    add_shared(made, "--config", "--workdir")
    add_shared(made, "--shard")

    words = "how far `train` has come: finished, running where, failed and why, time left"
    made = actions.add_parser("status", help=words, description=words)
    made.set_defaults(act=_status)
    made.add_argument("workdir", metavar="DIR", help="work directory of `train`")
    add_shared(made, "--json")

    words = "let `train` try again what failed"
    made = actions.add_parser("retry", help=words, description=words)
    made.set_defaults(act=_retry)
    made.add_argument("workdir", metavar="DIR", help="work directory of `train`")

    words = "write the results of `train` as one table, for --table of the queries"
    made = actions.add_parser("merge", help=words, description=words)
    made.set_defaults(act=_merge)
    made.add_argument("workdir", nargs="+", metavar="DIR", help="work directory of `train`")
    made.add_argument("--output", required=True, metavar="FILE", help="the table")
    add_shared(made, "--json")


def run(arguments: argparse.Namespace, overrides: Sequence[str] = ()) -> int:
    """Answers a query on standard output, or makes a table; returns the exit code.

    Raises ValueError for a file, an architecture, a column or a number that cannot be. `overrides` are of `train`.
    """
    return arguments.act(arguments, overrides)


# -- tables ----------------------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    # Imported late: the queries need no device.
    from rnas.cli import platform
    from rnas.pages import write_attack_page
    from rnas.runs.table_training import train_table
    from rnas.training.interruption import interruptible

    platform.prepare()
    config, workdir = read_config(arguments, list(overrides), table=True)
    with interruptible():
        train_table(config, workdir, *read_shard(arguments), report=write_attack_page)
    return 0


def _status(arguments: argparse.Namespace, _: Sequence[str]) -> int:
    from rnas.runs.table_status import as_text, is_one, status

    workdir = Path(arguments.workdir)
    if not is_one(workdir):
        raise ValueError(f"{workdir} holds no table of networks: expected what rnas tabular train makes.")
    found = status(workdir)
    print(json.dumps(found)) if arguments.json else tell(as_text(found))
    return 0


def _retry(arguments: argparse.Namespace, _: Sequence[str]) -> int:
    names = forget_failures(Path(arguments.workdir))
    tell(f"to be tried again: {', '.join(names)}" if names else "nothing has failed.")
    return 0


def _merge(arguments: argparse.Namespace, _: Sequence[str]) -> int:
    content = merge(arguments.workdir).to_json()
    write_json(arguments.output, content)
    table = load_robbench(arguments.output, partial=True)
    answer = _origin(table) | {"datasets": {dataset: len(entries) for dataset, entries in content.items()}}
    found = ", ".join(f"{count} classes of {dataset}" for dataset, count in answer["datasets"].items())
    if arguments.json:
        print(json.dumps(answer))
    else:
        tell(f"{table.source}: {found}")
    return 0


# -- queries ---------------------------------------------------------------------------------------------


def _answer(arguments: argparse.Namespace, _: Sequence[str]) -> int:
    table = load_robbench(arguments.table, standard=arguments.standard, partial=arguments.partial)
    if arguments.scores:
        table = table.joined(load_robbench(arguments.scores, partial=True), "score")
    answer = _origin(table) | arguments.answer(table, arguments)
    if arguments.json:
        print(json.dumps(answer, allow_nan=False))
    else:
        tell(arguments.show(answer))
    return 0


def _origin(table: RobBench) -> Answer:
    return {"table": {"source": table.source, "sha256": table.sha256, "classes": len(table.ids)}}


def _correlate(table: RobBench, arguments: argparse.Namespace) -> Answer:
    columns = arguments.columns.split(",") if arguments.columns else ()
    return queries.correlate(table, columns, best=arguments.best, by=arguments.by)


def _searches(arguments: argparse.Namespace) -> dict[str, int]:
    return {name: getattr(arguments, name) for name in ("budget", "repeats", "seed")}


def _search(table: RobBench, arguments: argparse.Namespace) -> Answer:
    objectives = arguments.objective.split(",")
    done = simulation.simulate(table, objectives, arguments.algorithm, **_searches(arguments))
    if arguments.trajectories:
        write_arrays(arguments.trajectories, {"queries": done.queries})
    answer = queries.search(table, done)
    if arguments.plot:
        from rnas.pages.table_plot import plot_search

        Path(arguments.plot).write_bytes(plot_search([answer], "png").data)
    return answer


def _judge(table: RobBench, arguments: argparse.Namespace) -> Answer:
    path = Path(arguments.workdir) / "architecture.json"
    content = read_object(path) if path.is_file() else {}
    probabilities = content.get("operation_probabilities")
    if not probabilities:
        raise ValueError(f"{path} holds no probabilities of operations; expected that of a search in this space.")
    try:
        nasbench201.most_probable(probabilities)  # refuses what are none
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} operation_probabilities: {error}") from error
    return {"origin": content.get("origin", {}), **queries.judge(table, probabilities, arguments.by)}


def _report(table: RobBench, arguments: argparse.Namespace) -> Answer:
    from rnas.pages.table_page import write_table_page

    if Path(arguments.output).suffix != ".html":
        raise ValueError(f"--output={arguments.output}: expected the name of an HTML file, one that ends in .html.")
    answers = queries.overview(table, arguments.by, searches=_searches(arguments))
    write_table_page(table, answers, arguments.output)
    return {"report": arguments.output, **answers}


# -- text ------------------------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value > 1 else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return text_table(head, rows, terminal_width(sys.stdout))


def _spread(figures: Mapping[str, float]) -> str:
    return f"{_number(figures['mean'])} \u00b1 {_number(figures['std'])}"


def _show_cell(answer: Answer) -> str:
    rows, ranks = [], answer["ranks"]
    for name, value in answer["values"].items():
        runs = ", ".join(f"{run:.4f} (seed {seed})" for seed, run in answer["runs"].get(name, {}).items())
        rows.append([name, _number(value), f"{ranks[name]:,}" if name in ranks else "", runs])
    head = f"id {answer['id']}, code {answer['code']}\n{answer['string']}"
    of_class = f"class of id {answer['canonical']}, {answer['class_size']} cells"
    return "\n".join([head, of_class, *_table(["column", "value", "rank", "runs"], rows)])


def _show_rank(answer: Answer) -> str:
    dataset = answer["by"].partition("/")[0]
    shown = [name for name in answer["summary"] if name.startswith(f"{dataset}/")]
    cells = [
        [str(cell["rank"]), str(cell["id"]), cell["code"], *(_number(cell["values"].get(name)) for name in shown)]
        for cell in answer["top"]
    ]
    operations = ", ".join(f"{name} {count}" for name, count in answer["operations"].items())
    summary = [
        [name, *(_number(row[key]) for key in ("median", "mean", "best")), str(row["best_id"])]
        for name, row in answer["summary"].items()
    ]
    best = _table(["rank", "id", "code", *(name.partition("/")[2] for name in shown)], cells)
    lines = [f"best by {answer['by']}", *best, f"operations on their edges: {operations}", ""]
    return "\n".join([*lines, *_table(["column", "median", "mean", "best", "of id"], summary)])


def _show_correlate(answer: Answer) -> str:
    names = answer["columns"]
    of = f"best {answer['best']:.0%} by {answer['by']}" if answer["by"] else "all classes"

    def coefficient(i: int, j: int) -> str:
        value = None if i == j else answer["spearman" if j > i else "kendall"][i][j]
        return "-" if value is None else f"{value:.3f}"

    places = range(len(names))
    rows = [[f"{i + 1:3} {names[i]}", *(coefficient(i, j) for j in places)] for i in places]
    title = f"rank correlations, {of}: Spearman above the diagonal, Kendall below"
    return "\n".join([title, *_table(["", *(str(j + 1) for j in places)], rows)])


def _show_search(answer: Answer) -> str:
    title = (
        f"{answer['algorithm']} on {', '.join(answer['objectives'])}: {answer['repeats']} searches of "
        f"{answer['budget']} queries, seed {answer['seed']}"
    )
    return "\n".join([title, *(_show_one_objective if "optimum" in answer else _show_front)(answer)])


def _show_one_objective(answer: Answer) -> list[str]:
    best = answer["optimum"]
    when = f", after {best['queries']['mean']:.0f} queries on average" if best["queries"] else ""
    return [
        *_table(["column", "chosen"], [[name, _spread(figures)] for name, figures in answer["chosen"].items()]),
        f"best of the table: {_number(best['value'])}, id {best['id']} ({best['code']})",
        f"reached by {best['reached']:.1%}{when}; regret {_number(answer['regret']['mean'])}",
        f"random search reaches {_number(answer['random_search'])} on average (exact)",
    ]


def _show_front(answer: Answer) -> list[str]:
    cells = [[str(cell["id"]), cell["code"], *map(_number, cell["values"].values())] for cell in answer["front"]]
    return [
        f"share of the hypervolume {_spread(answer['hypervolume'])}",
        f"share of the front found {_spread(answer['front_found'])}",
        "front of the table",
        *_table(["id", "code", *answer["objectives"]], cells),
    ]


def _show_judge(answer: Answer) -> str:
    found = answer["found"]
    rows = [
        [name, *map(_number, (row["spearman"], row["kendall"], row["count"], *answer["expected"][name].values()))]
        for name, row in answer["agreement"].items()
    ]
    lines = [
        f"found by {' '.join(answer['origin'].values()) or 'a search'}: probability {answer['probability']:.3g}",
        _show_cell({**found, "runs": {}}),
    ]
    if answer["better"] is not None:
        lines.append(f"{answer['better']:.1%} of all cells are better by {answer['by']}")
    lines += ["", "rank correlation of cells' probabilities, and mean over cells, uniform and by these probabilities"]
    return "\n".join([*lines, *_table(["column", "Spearman", "Kendall", "cells", "uniform", "searched"], rows)])


def _show_report(answer: Answer) -> str:
    return answer["report"]
