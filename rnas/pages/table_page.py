"""Pages of tables: of one with all its questions answered, and of one that is being made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnas.artifacts import table_results as results
from rnas.artifacts.files import read_json
from rnas.pages import tables
from rnas.pages.canvas import Picture
from rnas.pages.document import care, document, dotted, save
from rnas.pages.markup import Markup, element, markup
from rnas.pages.parts import fact_list, figure, folded, note, tile
from rnas.pages.quantity import compact, decimals, exact, percent
from rnas.pages.table_plot import plot_agreement, plot_front, plot_search
from rnas.spaces import nasbench201
from rnas.tabular import questions, simulation
from rnas.tabular.questions import Answer
from rnas.tabular.reading import columns_of_runs, load_robbench
from rnas.tabular.table import METRICS, RobBench, is_cost

BEST = 0.2  # share of the classes, by clean accuracy, that is looked at alone
TOP = 10

_METRICS = {
    "clean": "clean",
    "fgsm_3": "FGSM, \u03b5 = 3/255",
    "pgd_3": "PGD-20, \u03b5 = 3/255",
    "fgsm_8": "FGSM, \u03b5 = 8/255",
    "pgd_8": "PGD-20, \u03b5 = 8/255",
    "autoattack": "AutoAttack, \u03b5 = 8/255",
}
_FRONT = (
    "A dot is a class of cells that compute the same; its colour is the cost of the network. Circles: the Pareto "
    "front, cells than which no other is as good in both and better in one."
)
_AGREEMENT = (
    "Rank correlations between columns: Spearman\u2019s above the diagonal, Kendall\u2019s \u03c4-b below. At 1 two "
    "columns put the cells in the same order."
)
_SEARCH = (
    "Best so far of {repeats} searches of {budget} queries each, seed {seed}: line the median, bands the middle half "
    "and the middle four fifths. The space is that of all 15,625 cells, not of their classes."
)
_BESIDE = (
    "Both tables on the {count} classes that they share. Figures of this one come from fewer epochs, images or seeds "
    "wherever its protocol, below, differs; then the order of cells is all that compares."
)


class Judged(NamedTuple):
    """The two columns of a data set that a page is about."""

    clean: str
    robust: str

    @classmethod
    def by(cls, table: RobBench, robust: str) -> Judged:
        """Of the column that cells are ranked by; raises ValueError where the table lacks it or clean accuracy."""
        dataset = table.check_column(robust).partition("/")[0]
        return cls(table.check_column(f"{dataset}/clean"), robust)

    @property
    def dataset(self) -> str:
        return self.clean.partition("/")[0]


def write_table_page(
    table: RobBench, path: str | Path, *, by: str, budget: int, repeats: int, seed: int
) -> dict[str, Answer]:
    """Writes the page of a table, its pictures beside it, and returns what is on it.

    Args:
      table: complete, or not; searches need all classes.
      path: of the HTML file.
      by: column of robust accuracy; clean accuracy is that of its data set.
      budget, repeats, seed: of the searches.

    Returns:
      Answers of `rnas.tabular.questions` by name: front, rank, agreement, best (the columns' agreement among the best
      by clean accuracy), searches.

    Raises:
      ValueError: no such column, a number out of range.
      OSError: a file that could not be written.
    """
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"--output={path}: a page is an HTML file; expected a name that ends in .html.")
    columns = Judged.by(table, by)
    answers: dict[str, Any] = {
        "front": questions.front(table, columns),
        "rank": questions.rank(table, by, TOP),
        "agreement": _agreement(table),
        "best": None,
        "searches": [],
    }
    if BEST * answers["front"]["count"] >= 3 and by != columns.clean:
        answers["best"] = questions.correlate(table, columns, best=BEST, by=columns.clean)
    if _complete(table, columns):
        answers["searches"] = [
            questions.search(table, simulation.simulate(table, [by], name, budget=budget, repeats=repeats, seed=seed))
            for name in simulation.ALGORITHMS
        ]
    pictures = _pictures(table, columns, answers)
    best = answers["rank"]["top"][0]
    text = document(
        title=f"The most robust of {exact(len(table.ids))} cells, {best['code']}, keeps {_share(best['values'][by])} "
        f"under {_label(by)}",
        eyebrow=dotted("rnas", "table of cells", columns.dataset, "NAS-Bench-201"),
        opening=[_tiles(table, columns, answers)],
        parts=[
            ("front", "Clean against robust", _front(table, columns, answers["front"], pictures)),
            ("best", f"Best by {_label(by)}", _best(columns, answers["rank"])),
            ("agreement", "What columns agree on", _agreements(columns, answers, pictures)),
            ("search", "Searching the table", _searches(by, answers["searches"], pictures)),
            ("columns", "All columns", [_summary(answers["rank"]["summary"])]),
            ("table", "The table", [_facts(table)]),
        ],
    )
    save(path, text, pictures.values())
    return answers


def write_training_page(workdir: str | Path, beside: Sequence[str | Path] = ()) -> Path:
    """Writes `report.html` and its pictures into the work directory of `rnas tabular train`: the results so far.

    Args:
      workdir: may still be worked in.
      beside: a published table, or none, whose ranking stands beside that of the work directory.

    Returns:
      The path of the page.

    Raises:
      ValueError: a result or a table that cannot be read, or several tables.
    """
    workdir = Path(workdir)
    if len(beside) > 1:
        raise ValueError(f"{len(beside)} tables to stand beside the results of {workdir}; give one.")
    config = read_json(workdir / "config.json")
    planned = results.planned_networks(config["archs"], config["seeds"])
    done = [network for network in planned if results.result_file(workdir, network).exists()]
    written = [vars(results.NetworkResult.read(results.result_file(workdir, network))) for network in done]
    eyebrow = dotted("rnas", "table in the making", config["data"]["name"], "NAS-Bench-201")
    progress = f"{exact(len(done))} of {exact(len(planned))} networks"
    unfinished = note("Unfinished.", f"{progress} have a result.") if len(done) < len(planned) else None
    protocol = [folded("Configuration", tables.setting_table(config))]
    if not done:
        parts = [("protocol", "Protocol", protocol)]
        return save(workdir / "report.html", document("No network is finished yet", eyebrow, [unfinished], parts), [])
    table = RobBench(str(workdir), "", *columns_of_runs(results.merge([workdir])))
    robust = next(name for name in (*_ROBUST, "clean") if f"{config['data']['name']}/{name}" in table.values)
    columns = Judged.by(table, f"{config['data']['name']}/{robust}")
    answers = {"front": questions.front(table, columns), "rank": questions.rank(table, columns.robust, len(table.ids))}
    answers["agreement"] = _agreement(table)
    pictures = _pictures(table, columns, answers)
    best = answers["rank"]["top"][0]
    under = f"keeps {_share(best['values'][columns.robust])} under {_label(columns.robust)}"
    text = document(
        title=f"{progress} trained: {best['code']} {under}",
        eyebrow=eyebrow,
        opening=[unfinished, care(_warnings(written)), _training_tiles(table, columns, answers, written)],
        parts=[
            ("results", "Results", _results(table, answers["rank"], written)),
            ("front", "Clean against robust", _front(table, columns, answers["front"], pictures)),
            ("beside", "Beside the published table", _beside(table, load_robbench(beside[0])) if beside else []),
            ("agreement", "What columns agree on", _agreements(columns, {**answers, "best": None}, pictures)),
            ("protocol", "Protocol", [_protocol(written), *protocol]),
        ],
    )
    return save(workdir / "report.html", text, pictures.values())


# -- figures of both ---------------------------------------------------------------------------------------

_ROBUST = ("pgd_8", "fgsm_8", "pgd_3", "fgsm_3")  # what a table in the making is ranked by, as far as it has it


def _label(column: str) -> str:
    """A column in words, without its data set."""
    metric = column.partition("/")[2]
    return _METRICS.get(metric, metric)


def _share(value: float | None, unit: bool = True) -> str | Markup:
    return tables.NONE if value is None else percent(value, 2, unit=unit)


def _complete(table: RobBench, columns: Judged) -> bool:
    classes = len(np.unique(nasbench201.representatives()))
    return all(np.isfinite(table.column(name)).sum() == classes for name in columns)


def _agreement(table: RobBench) -> Answer | None:
    """Correlations of all accuracies that have three classes in common; None where there are not two of them."""
    known = {name: np.isfinite(table.column(name)) for name in table.columns if not is_cost(name)}
    everyone = np.logical_and.reduce(list(known.values()))
    if len(known) < 2 or everyone.sum() < 3:
        return None
    return questions.correlate(table, list(known))


def _pictures(table: RobBench, columns: Judged, answers: Mapping[str, Any]) -> dict[str, Picture]:
    drawn = []
    points = np.stack([table.column(name) for name in columns], axis=1)
    known = np.flatnonzero(np.isfinite(points).all(1))
    if len(known) > 1 and columns.robust != columns.clean:
        ids = [table.ids[row] for row in known]
        members = np.array([ids.index(cell["id"]) for cell in answers["front"]["members"]])
        macs = table.column(f"{columns.dataset}/macs")[known]
        drawn.append(plot_front(points[known], macs, list(map(nasbench201.to_code, ids)), members, tuple(columns)))
    if answers["agreement"]:
        drawn.append(plot_agreement(answers["agreement"]))
    if answers.get("searches"):
        drawn.append(plot_search(answers["searches"]))
    return {picture.name: picture for picture in drawn}


def _front(table: RobBench, columns: Judged, answer: Answer, pictures: Mapping[str, Picture]) -> list[Any]:
    if "front" not in pictures:
        return []
    rows = [
        [
            cell["code"],
            exact(cell["id"]),
            *(_share(cell["values"][name], unit=False) for name in columns),
            *(tables.count(int(table.query(cell["id"], columns.dataset, kind))) for kind in ("params", "macs")),
        ]
        for cell in answer["members"]
    ]
    head = ["Cell", "Id", *(f"{_label(name)}, %" for name in columns), "Parameters", "MACs"]
    return [
        figure(pictures["front"], _FRONT),
        tables.table(head, rows, f"The front, {len(rows)} of {exact(answer['count'])} classes"),
    ]


def _agreements(columns: Judged, answers: Mapping[str, Any], pictures: Mapping[str, Picture]) -> list[Any]:
    if "agreement" not in pictures:
        return []
    content: list[Any] = [figure(pictures["agreement"], _AGREEMENT)]
    if best := answers["best"]:
        content.append(
            element(
                "p",
                f"Among the best {percent(BEST, 0)} by clean accuracy ({best['count'][0][1]} classes) Spearman\u2019s "
                f"coefficient of clean accuracy with {_label(columns.robust)} is {_coefficient(best)}.",
            )
        )
    return content


def _coefficient(answer: Answer, kind: str = "spearman") -> str | Markup:
    """Of the first two columns of an answer."""
    value = answer[kind][0][1]
    return tables.NONE if value is None else f"{value:.3f}"


# -- a table -----------------------------------------------------------------------------------------------


def _tiles(table: RobBench, columns: Judged, answers: Mapping[str, Any]) -> Markup:
    summary = answers["rank"]["summary"]
    spread = {
        name: {"median": _share(summary[name]["median"]), "mean": _share(summary[name]["mean"])} for name in columns
    }
    shown = [
        tile("Classes of cells", exact(len(table.ids)), {"cells": exact(nasbench201.SIZE)}),
        *(
            tile(f"Best, {_label(name)}", _share(summary[name]["best"]), spread[name])
            for name in dict.fromkeys(columns)
        ),
    ]
    if answers["agreement"]:
        pair = questions.correlate(table, columns)
        among = answers["best"] and {f"best {percent(BEST, 0)}": _coefficient(answers["best"])}
        shown.append(tile("Rank correlation of the two", _coefficient(pair), among))
    return element("dl", shown, class_="tiles")


def _best(columns: Judged, answer: Answer) -> list[Any]:
    names = [name for name in answer["summary"] if name.startswith(f"{columns.dataset}/")]
    rows = [
        [cell["code"], exact(cell["id"]), *(_figure(name, cell["values"].get(name)) for name in names)]
        for cell in answer["top"]
    ]
    made_of = ", ".join(f"{name} {count}" for name, count in answer["operations"].items())
    return [
        tables.table(["Cell", "Id", *map(_head, names)], rows, f"The first {len(rows)}"),
        element("p", f"Operations on their {6 * len(rows)} edges: {made_of}."),
    ]


def _head(name: str) -> str:
    metric = name.partition("/")[2]
    return {"params": "Parameters", "macs": "MACs"}.get(metric, f"{_label(name)}, %")


def _figure(name: str, value: float | None) -> Markup | str:
    return tables.count(None if value is None else int(value)) if is_cost(name) else _share(value, unit=False)


def _summary(summary: Mapping[str, Answer]) -> Markup:
    rows = [
        [
            name,
            *(
                compact(row[key]) if is_cost(name) else _share(row[key], unit=False)
                for key in ("median", "mean", "best")
            ),
            f"{nasbench201.to_code(row['best_id'])} ({exact(row['best_id'])})",
            exact(row["count"]),
        ]
        for name, row in summary.items()
    ]
    return tables.table(["Column", "Median", "Mean", "Best", "Of cell (id)", "Classes"], rows, "Accuracies in %")


def _searches(by: str, answers: Sequence[Answer], pictures: Mapping[str, Picture]) -> list[Any]:
    if not answers:
        return []
    first = answers[0]
    rows = [
        [
            answer["algorithm"].replace("_", " "),
            _mean(answer["chosen"][by]),
            percent(answer["curve"]["quantiles"]["0.5"][-1], 2, unit=False),
            percent(answer["regret"]["mean"], 2, unit=False),
            percent(answer["optimum"]["reached"]),
            f"{answer['optimum']['queries']['mean']:.0f}" if answer["optimum"]["queries"] else tables.NONE,
        ]
        for answer in answers
    ]
    head = ["Algorithm", f"{_label(by)}, %", "Median", "Short of the best", "Found the best", "Queries until then"]
    return [
        figure(pictures["search"], _SEARCH.format(**{key: first[key] for key in ("repeats", "budget", "seed")})),
        tables.table(head, rows, ["What they choose", element("small", "mean, below it the standard deviation")]),
        element("p", f"Random search reaches {percent(first['random_search'], 2)} on average, exactly."),
    ]


def _mean(spread: Mapping[str, float]) -> Markup:
    words = [percent(spread[key], 2, unit=False) for key in ("mean", "std")]
    return markup([element("b", words[0]), element("small", f"\u00b1 {words[1]}")])


def _facts(table: RobBench) -> Markup | None:
    seeds = sorted({seed for runs in table.seeds.values() for seed in runs})
    return fact_list(
        {
            "File": Path(table.source).name,
            "SHA-256": element("code", table.sha256),
            "Classes": exact(len(table.ids)),
            "Data sets": ", ".join(table.datasets),
            "Seeds": ", ".join(seeds),
        }
    )


# -- a table in the making ---------------------------------------------------------------------------------


def _training_tiles(table: RobBench, columns: Judged, answers: Answer, written: Sequence[Answer]) -> Markup:
    summary = answers["rank"]["summary"]
    shown = [tile("Networks", exact(len(written)), {"classes of cells": exact(len(table.ids))})]
    for name in dict.fromkeys((*columns, f"{columns.dataset}/autoattack")):
        if name in summary:
            best = {"cell": nasbench201.to_code(summary[name]["best_id"]), "median": _share(summary[name]["median"])}
            shown.append(tile(f"Best, {_label(name)}", _share(summary[name]["best"]), best))
    return element("dl", shown, class_="tiles")


def _warnings(written: Sequence[Answer]) -> list[str]:
    """Self-checks of AutoAttack that failed, by network."""
    return [
        f"Self-checks {', '.join(result['failed_checks'])} of AutoAttack on {result['code']}, seed {result['seed']}, "
        "failed: its accuracy may be too high."
        for result in written
        if result.get("failed_checks")
    ]


def _results(table: RobBench, answer: Answer, written: Sequence[Answer]) -> list[Any]:
    metrics = [metric for metric in METRICS if any(metric in result["accuracy"] for result in written)]
    dataset = written[0]["dataset"]
    places = decimals(min(result["protocol"]["count"] or 10_000 for result in written))
    runs: dict[int, dict[int, Answer]] = {}
    for result in written:
        runs.setdefault(result["id"], {})[result["seed"]] = result["accuracy"]

    def cell(number: int, metric: str) -> Markup:
        found = {seed: accuracy[metric] for seed, accuracy in runs[number].items() if metric in accuracy}
        if not found:
            return tables.NONE
        mean = percent(table.query(number, dataset, metric), places, unit=False)
        each = ", ".join(f"{percent(value, places, unit=False)}" for value in found.values())
        return markup([element("b", mean), element("small", each) if len(found) > 1 else None])

    rows = [
        [
            each["code"],
            exact(each["id"]),
            ", ".join(map(str, sorted(runs[each["id"]]))),
            *(cell(each["id"], metric) for metric in metrics),
        ]
        for each in answer["top"]
    ]
    head = ["Cell", "Id", "Seeds", *(_METRICS[metric] for metric in metrics)]
    words = "accuracy in %, mean over seeds, below it each"
    return [tables.table(head, rows, ["Results", element("small", words)], "accuracy")]


def _beside(table: RobBench, published: RobBench) -> list[Any]:
    """The order of the cells here and in another table, and how far they agree."""
    dataset = table.datasets[0]
    names = [name for name in table.values if name in published.values]
    if not names:
        there = ", ".join(published.datasets)
        return [element("p", f"{Path(published.source).name} has no figures of {dataset}; it has {there}.")]
    shared = [number for number in table.ids if number in published.ids]
    both = table.joined(published, "published")
    pairs = [(name, f"{dataset}/published_{name.partition('/')[2]}") for name in names]
    rows = []
    for name, other in pairs:
        known = np.isfinite([both.column(name), both.column(other)]).all(0).sum()
        answer = questions.correlate(both, (name, other)) if known > 1 else None
        rows.append([_label(name), *(_coefficient(answer, kind) if answer else tables.NONE
                                     for kind in ("spearman", "kendall")), exact(known)])  # fmt: skip
    by = next((pair for pair in pairs if pair[0].endswith("/pgd_8")), pairs[0])
    ranked = [[row for row in questions.rank(both, name, len(both.ids))["top"] if row["id"] in shared] for name in by]
    place = {cell["id"]: rank for rank, cell in enumerate(ranked[1], start=1)}
    order = [
        [cell["code"], exact(rank), exact(place[cell["id"]]),
         *(_share(cell["values"].get(name), unit=False) for name in by)]
        for rank, cell in enumerate(ranked[0], start=1)
        if cell["id"] in place
    ]  # fmt: skip
    head = ["Cell", "Rank here", "Rank there", f"{_label(by[0])}, here, %", "there, %"]
    return [
        element("p", _BESIDE.format(count=exact(len(shared)))),
        tables.table(head, order, f"In the order of {_label(by[0])}"),
        tables.table(["Column", "Spearman\u2019s \u03c1", "Kendall\u2019s \u03c4-b", "Classes"], rows, "Agreement"),
    ]


def _protocol(written: Sequence[Answer]) -> Markup | None:
    first = written[0]
    protocol, train = first["protocol"], first["protocol"]["train"]
    attack = protocol["adversarial"]
    held_out = protocol["data"]["held_out"]
    images = f"of {exact(held_out)} held-out training images" if held_out else "test images"
    return fact_list(
        {
            "Data": f"{first['dataset']}, SHA-256 {protocol['images'][:12]}\u2026",
            "Training": f"{train['epochs']} epochs, batches of {train['batch_size']}, "
            f"{'one supernet for all cells' if train['weights'] == 'shared' else 'a network a cell and seed'}",
            "Attack in training": f"PGD-{attack['steps']}, \u03b5 = {attack['epsilon']}, step {attack['step_size']}",
            "Judged on": f"{exact(first['count'])} {images}, the last epoch\u2019s network",
            "Device": first.get("device"),
            "Versions": ", ".join(f"{name} {version}" for name, version in (first["versions"] or {}).items()),
        }
    )
