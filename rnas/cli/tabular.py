"""`rnas tabular`: questions to a table, each answered by one object, in text or as JSON; and how tables are made."""

import argparse
from collections.abc import Callable, Sequence
import json
from pathlib import Path
import re

from rnas.artifacts import table_results as results
from rnas.artifacts.files import read_json, write_arrays, write_json
from rnas.tabular import questions, simulation
from rnas.tabular.questions import Answer
from rnas.tabular.reading import load_robbench
from rnas.tabular.table import RobBench


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the questions, and what makes a table, to the parser of `rnas tabular`."""
    asked = parser.add_subparsers(dest="question", required=True, metavar="question")

    def question(name: str, description: str, answer: Callable, show: Callable) -> Callable:
        made = asked.add_parser(name, help=description, description=description)
        made.set_defaults(act=_ask, answer=answer, show=show)
        add = made.add_argument
        add("--table", required=True, metavar="FILE", help="table of means or of runs, or the folder that holds it")
        add("--standard", metavar="FILE", help="also the table after standard training, as <data set>/standard_…")
        add("--scores", metavar="FILE", help="also another table of runs, as <data set>/score_…")
        add("--partial", action="store_true", help="the table of runs may lack classes, data sets, metrics")
        add("--json", action="store_true", help="print one JSON object")
        return add

    add = question("query", "all figures of one architecture", _query, _show_query)
    add("--arch", required=True, help="id, six-digit code, or string of NAS-Bench-201")

    add = question("rank", "the best cells by a column, and a summary of all columns", _rank, _show_rank)
    add("--by", default="cifar10/pgd_8", metavar="COLUMN", help="default: cifar10/pgd_8")
    add("--top", type=int, default=10, metavar="N", help="number of cells; default: 10")

    add = question("correlate", "rank correlations between columns", _correlate, _show_correlate)
    add("--columns", metavar="A,B,…", help="default: every accuracy")
    add("--best", type=float, default=1.0, metavar="SHARE", help="only that share of the classes; default: 1")
    add("--by", default="cifar10/clean", metavar="COLUMN", help="best by what; default: cifar10/clean")

    add = question("search", "search algorithms, simulated many times", _search, _show_search)
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

    words = "what a search by gradients in this space found, and how its probabilities rank all cells"
    add = question("judge", words, _judge, _show_judge)
    add("--workdir", required=True, metavar="DIR", help="of a run with --config.space=nasbench201")
    add("--by", default="cifar10/pgd_8", metavar="COLUMN", help="default: cifar10/pgd_8")

    add = question("report", "write a page: front, best cells, agreement of columns, searches", _report, _show_report)
    add("--by", default="cifar10/pgd_8", metavar="COLUMN", help="robust accuracy; default: cifar10/pgd_8")
    add("--budget", type=int, default=150, metavar="N", help="queries of each search; default: 150")
    add("--repeats", type=int, default=200, metavar="N", help="searches by each algorithm; default: 200")
    add("--seed", type=int, default=0, help="of all searches; default: 0")
    add("--output", required=True, metavar="FILE", help="the page, such as report.html; pictures beside it")

    words = "train the networks of a table adversarially and attack them, or a shard of them"
    made = asked.add_parser(
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
    made = asked.add_parser("merge", help=words, description=words)
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
    return arguments.act(arguments, overrides)


# -- tables ----------------------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    shard = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
    if not shard:
        raise ValueError(f"--shard={arguments.shard}: expected I/N, such as 0/8.")
    # Imported late: the questions need no device.
    from rnas.cli import platform
    from rnas.config.load import load_config
    from rnas.pages import write_attack_page
    from rnas.runs.table_training import train_table
    from rnas.training.interruption import interruptible

    platform.prepare()
    config = load_config(arguments.config, list(overrides))
    name, _, argument = arguments.config.partition(":")
    workdir = arguments.workdir or Path("runs") / "_".join(filter(None, ["robbench", Path(name).stem, argument]))
    with interruptible():
        train_table(config, Path(workdir), *map(int, shard.groups()), report=write_attack_page)
    return 0


def _merge(arguments: argparse.Namespace, _: Sequence[str]) -> int:
    content = results.merge(arguments.workdir).to_json()
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


def _query(table: RobBench, arguments: argparse.Namespace) -> Answer:
    return questions.query(table, arguments.arch)


def _rank(table: RobBench, arguments: argparse.Namespace) -> Answer:
    if arguments.top < 1:
        raise ValueError(f"--top={arguments.top}: expected at least 1.")
    return questions.rank(table, arguments.by, arguments.top)


def _correlate(table: RobBench, arguments: argparse.Namespace) -> Answer:
    columns = arguments.columns.split(",") if arguments.columns else ()
    return questions.correlate(table, columns, best=arguments.best, by=arguments.by)


def _search(table: RobBench, arguments: argparse.Namespace) -> Answer:
    done = simulation.simulate(
        table,
        arguments.objective.split(","),
        arguments.algorithm,
        budget=arguments.budget,
        repeats=arguments.repeats,
        seed=arguments.seed,
    )
    if arguments.trajectories:
        write_arrays(arguments.trajectories, {"queries": done.queries})
    answer = questions.search(table, done)
    if arguments.plot:
        from rnas.pages.table_plot import plot_search

        Path(arguments.plot).write_bytes(plot_search([answer]).png)
    return answer


def _judge(table: RobBench, arguments: argparse.Namespace) -> Answer:
    path = Path(arguments.workdir) / "architecture.json"
    content = read_json(path) if path.is_file() else {}
    probabilities = content.get("operation_probabilities")
    if not probabilities:
        raise ValueError(f"{path} holds no probabilities of operations; expected that of a search in this space.")
    return {"origin": content.get("origin", {}), **questions.judge(table, probabilities, arguments.by)}


def _report(table: RobBench, arguments: argparse.Namespace) -> Answer:
    from rnas.pages.table_page import write_table_page

    settings = {key: getattr(arguments, key) for key in ("by", "budget", "repeats", "seed")}
    return {"report": arguments.output, **write_table_page(table, arguments.output, **settings)}


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


def _show_judge(answer: Answer) -> str:
    found, by = answer["found"], answer["by"]
    lines = [f"found by {' '.join(answer['origin'].values()) or 'a search'}: probability {answer['probability']:.3g}"]
    lines.append(_show_query({**found, "runs": {}}))
    if answer["better"] is not None:
        lines.append(f"{answer['better']:.1%} of all cells are better by {by}")
    head = ("Spearman", "Kendall", "cells", "mean", "searched")
    lines += ["", "rank correlation of cells' probabilities, and mean over cells, uniform and by these probabilities"]
    lines.append(f"{'column':32} " + " ".join(f"{name:>9}" for name in head))
    for name, row in answer["agreement"].items():
        figures = [row["spearman"], row["kendall"], row["count"], *answer["expected"][name].values()]
        shown = (f"{'-' if value is None else f'{value:,}' if isinstance(value, int) else f'{value:.4f}':>9}"
                 for value in figures)  # fmt: skip
        lines.append(f"{name:32} {' '.join(shown)}")
    return "\n".join(lines)


def _show_report(answer: Answer) -> str:
    return answer["report"]
