"""Pages of tables: of a complete one with answers to all queries, and of one whose networks are still being trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts.files import read_object
from rnas.artifacts.table_of_runs import ALL_METRICS
from rnas.artifacts.table_results import NetworkResult, has_results, merge, planned_networks, read_results
from rnas.attacks import catalogue
from rnas.pages.cells import code_legend
from rnas.pages.quantity import decimals, exact, number_of, percent
from rnas.pages.site import Fold, dotted, publish, say, sections
from rnas.pages.table import UNIT, Cell, Table, identity, settings_table, share, short, whole
from rnas.pages.table_plot import plot_agreement, plot_front, plot_search
from rnas.spaces import nasbench201
from rnas.tabular import queries
from rnas.tabular.column_attacks import column_label
from rnas.tabular.queries import Answer
from rnas.tabular.reading import columns_of_runs, load_robbench
from rnas.tabular.table import RobBench, is_cost

_RANKED_BY = ("pgd_8", "fgsm_8", "pgd_3", "fgsm_3", "clean")  # a table in the making, by the first that it has
_HEADINGS = {"params": "Parameters", "macs": "MACs", "clean": "Clean"}


def write_table_page(table: RobBench, answers: Mapping[str, Any], path: str | Path) -> Path:
    """Writes the page of a table, complete or not, from the answers of `rnas.tabular.queries.overview`."""
    return publish(Path(path), "table.html", table_context(table, answers))


def write_training_page(workdir: str | Path, beside: Sequence[str | Path] = ()) -> Path:
    """Writes `report.html` and its files into the work directory of `rnas tabular train`; returns its path.

    The ranking of a published table may stand beside its own. Raises ValueError where a result or a table cannot be
    read, or several tables are given.
    """
    workdir = Path(workdir)
    if len(beside) > 1:
        raise ValueError(f"{len(beside)} tables to stand beside the results of {workdir}; give one.")
    published = load_robbench(beside[0]) if beside else None
    return publish(workdir / "report.html", "table.html", training_context(workdir, published))


def table_context(table: RobBench, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the page of a table; see `rnas.pages.site`."""
    best, columns = answers["rank"]["top"][0], answers["front"]["columns"]
    by = columns[1]
    return {
        "title": f"The best of {exact(len(table.ids))} cells, {best['code']}, {say('keeps', best, by, _label(by))}",
        "eyebrow": dotted("rnas", "table of cells", _dataset(by), "NAS-Bench-201"),
        "unfinished": "",
        "warnings": [],
        "size": len(table.ids),
        "networks": None,
        "legend": code_legend(),
        "best": _best_of(answers, columns),
        "pair": answers["agreement"] and _coefficient(queries.correlate(table, columns)),
        "sections": sections(
            front=("Clean against robust", _front(table, answers["front"])),
            best=(f"Best by {_label(by)}", _best(answers["rank"])),
            agreement=("Agreement of columns", _agreement(answers)),
            search=("Searching the table", answers["searches"] and _searches(by, answers["searches"])),
            columns=("All columns", _summary(answers["rank"]["summary"])),
            table=("The table", table),
        ),
    }


def _dataset(column: str) -> str:
    return column.partition("/")[0]


def _heading(column: str) -> Cell:
    metric = column.partition("/")[2]
    return Cell(_HEADINGS[metric]) if metric in _HEADINGS else Cell(*column_label(metric))


def _label(column: str) -> str:
    """A column in words, without its data set."""
    return ", ".join(filter(None, column_label(column.partition("/")[2])))


def _figure(column: str, value: float | None) -> Cell:
    return short(value) if is_cost(column) else share(value, 2)


def _best_of(answers: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Answer]:
    """Label -> summary of the columns that the tiles are about."""
    summary = answers["rank"]["summary"]
    return {_label(name): summary[name] | {"code": nasbench201.to_code(summary[name]["best_id"])} for name in columns}


def _coefficient(answer: Answer | None, kind: str = "spearman") -> Cell:
    """Of the first two columns of an answer."""
    value = answer[kind][0][1] if answer else None
    return Cell() if value is None else Cell(f"{value:.3f}", value=value)


def _cells(name: str, cells: Sequence[Answer], columns: dict[Any, Any], caption: str, *more: str) -> Table:
    """A row a cell with its names; `columns`: heading -> figure of a cell."""
    names: dict[Any, Any] = {"Cell": lambda cell: cell["code"], "Id": lambda cell: identity(cell["id"])}
    return Table.of(name, cells, names | columns, caption, *more)


def _value(column: str) -> dict[Cell, Any]:
    """The heading of a column, and its figure of a cell."""
    return {_heading(column): lambda cell: _figure(column, cell["values"].get(column))}


def _front(table: RobBench, answer: Answer) -> dict[str, Any] | None:
    clean, robust = answer["columns"]
    members = answer["members"]
    if answer["count"] < 2 or clean == robust:
        return None
    costs = [f"{_dataset(clean)}/{kind}" for kind in ("params", "macs")]
    points = np.stack([table.column(clean), table.column(robust)], axis=1)
    known = np.flatnonzero(np.isfinite(points).all(1))
    ids = [table.ids[row] for row in known]
    codes = [nasbench201.to_code(number) for number in ids]
    on_front = [ids.index(cell["id"]) for cell in members]
    valued = [
        cell | {"values": cell["values"] | {name: table.query(cell["id"], *name.split("/")) for name in costs}}
        for cell in members
    ]
    columns = _value(clean) | _value(robust) | _value(costs[0]) | _value(costs[1])
    caption = f"The front, {len(members)} of {exact(answer['count'])} classes"
    return {
        "picture": plot_front(points[known], table.column(costs[1])[known], codes, on_front, (clean, robust)),
        "table": _cells("front", valued, columns, caption, UNIT),
    }


def _best(answer: Answer) -> dict[str, Any]:
    dataset, cells = _dataset(answer["by"]), answer["top"]
    columns = {}
    for name in answer["summary"]:
        columns |= _value(name) if _dataset(name) == dataset else {}
    return {
        "table": _cells("best", cells, columns, f"The first {len(cells)}", UNIT),
        "edges": len(nasbench201.EDGES) * len(cells),
        "operations": answer["operations"],
    }


def _agreement(answers: Mapping[str, Any]) -> dict[str, Any] | None:
    best = answers["best"]
    if not answers["agreement"]:
        return None
    among = best and {"robust": _label(best["columns"][1]), "coefficient": _coefficient(best)}
    among = among and {"share": best["best"], "count": best["count"][0][1], **among}
    return {"picture": plot_agreement(answers["agreement"]), "among_best": among}


def _summary(summary: Mapping[str, Answer]) -> dict[str, Any]:
    code = nasbench201.to_code
    columns = {
        "Column": lambda name: Cell(name, _label(name) if _heading(name).below else ""),
        "Median": lambda name: _figure(name, summary[name]["median"]),
        "Mean": lambda name: _figure(name, summary[name]["mean"]),
        "Best": lambda name: _figure(name, summary[name]["best"]),
        "Of cell (id)": lambda name: f"{code(summary[name]['best_id'])} ({summary[name]['best_id']})",
        "Classes": lambda name: whole(summary[name]["count"]),
    }
    return {
        "table": Table.of("columns", summary, columns, "Over all classes", UNIT, "attack"),
        "standard": any("/standard_" in name for name in summary),
        "scores": any("/score_" in name for name in summary),
    }


def _searches(by: str, answers: Sequence[Answer]) -> dict[str, Any]:
    def until(found: Answer | None) -> Cell:
        return Cell(f"{found['mean']:.0f}", value=found["mean"]) if found else Cell()

    def chosen(answer: Answer) -> Cell:
        found = answer["chosen"][by]
        return share(found["mean"], 2, f"\u00b1 {percent(found['std'], 2, unit=False)}", "strong")

    columns = {
        "Algorithm": lambda answer: answer["algorithm"].replace("_", " "),
        _heading(by): chosen,
        "Median": lambda answer: share(answer["curve"]["quantiles"]["0.5"][-1], 2),
        "Short of the best": lambda answer: share(answer["regret"]["mean"], 2),
        "Found the best": lambda answer: share(answer["optimum"]["reached"]),
        "Queries until then": lambda answer: until(answer["optimum"]["queries"]),
    }
    more = ("What the searches choose", "means, shares in %", "standard deviation")
    return {
        "picture": plot_search(answers),
        "table": Table.of("searches", answers, columns, *more),
        **{key: answers[0][key] for key in ("random_search", "repeats", "budget", "seed")},
    }


def training_context(workdir: Path, published: RobBench | None = None) -> dict[str, Any]:
    """The data of the page of a table in the making; see `rnas.pages.site`. Raises as `write_training_page`."""
    config = read_object(workdir / "config.json")
    dataset = config["data"]["name"]
    planned = planned_networks(config["archs"], config["seeds"])
    found = {result.network: result for result in read_results([workdir])} if has_results(workdir) else {}
    written = [found[network] for network in planned if network in found]
    progress = f"{exact(len(written))} of {exact(len(planned))} networks"
    settings = Fold("Configuration", settings_table("configuration", config))
    page = {
        "title": "No network is finished yet",
        "eyebrow": dotted("rnas", "table in the making", dataset, "NAS-Bench-201"),
        "unfinished": f"{progress} have a result." if len(written) < len(planned) else "",
        "warnings": [
            f"Sanity checks {', '.join(result.failed_checks)} of AutoAttack on {result.code}, seed {result.seed}, "
            "failed: its accuracy may be too high."
            for result in written
            if result.failed_checks
        ],
        "networks": len(written),
        "legend": code_legend(),
        "size": 0,
        "best": {},
        "pair": None,
    }
    if not written:
        return page | {"sections": sections(protocol=("Protocol", {"first": None, "settings": settings}))}
    table = RobBench(str(workdir), "", *columns_of_runs(merge([workdir])))
    by = next(f"{dataset}/{metric}" for metric in _RANKED_BY if f"{dataset}/{metric}" in table.values)
    answers = queries.overview(table, by, top=len(table.ids), best=None)
    best, columns = answers["rank"]["top"][0], answers["front"]["columns"]
    measured = dict.fromkeys((*columns, f"{dataset}/autoattack"))
    return page | {
        "title": f"{progress} trained: {best['code']} {say('keeps', best, by, _label(by))}",
        "size": len(table.ids),
        "best": _best_of(answers, [name for name in measured if name in table.values]),
        "sections": sections(
            results=("Results", _results(table, answers["rank"], written)),
            front=("Clean against robust", _front(table, answers["front"])),
            beside=("Beside the published table", published and _beside(table, published)),
            agreement=("Agreement of columns", _agreement(answers)),
            protocol=("Protocol", _protocol(written[0]) | {"settings": settings}),
        ),
    }


def _results(table: RobBench, answer: Answer, written: Sequence[NetworkResult]) -> Table:
    """A row a cell, best first; below the mean over seeds the accuracy of each."""
    places = decimals(min(result.protocol["count"] or 10_000 for result in written))
    runs: dict[int, dict[int, Mapping[str, float]]] = {}
    for result in sorted(written, key=lambda result: result.network):
        runs.setdefault(result.id, {})[result.seed] = result.accuracy

    def figure(number: int, metric: str) -> Cell:
        found = [accuracy[metric] for accuracy in runs[number].values() if metric in accuracy]
        if not found:
            return Cell()
        each = ", ".join(percent(value, places, unit=False) for value in found) if len(found) > 1 else ""
        return share(table.query(number, written[0].dataset, metric), places, each, "strong")

    columns: dict[Any, Any] = {"Seeds": lambda cell: ", ".join(map(str, runs[cell["id"]]))}
    for metric in ALL_METRICS:
        if any(metric in result.accuracy for result in written):
            columns[_heading(f"/{metric}")] = lambda cell, metric=metric: figure(cell["id"], metric)
    more = ("Best first", f"{UNIT}, mean over seeds", "accuracy of each", "accuracy")
    return _cells("results", answer["top"], columns, *more)


def _beside(table: RobBench, published: RobBench) -> dict[str, Any]:
    """The order of the cells here and in another table, and how far they agree."""
    dataset = table.datasets[0]
    # What is published of PGD is its last iterate.
    names = {name: own for name in published.values for own in (name, f"{name}_last") if own in table.values}
    shared = set(table.ids) & set(published.ids)
    found = {"file": Path(published.source).name, "dataset": dataset, "count": len(shared)}
    if not names:
        return found | {"datasets": published.datasets}
    both = table.joined(published, "published")
    pairs = {own: (own, f"{dataset}/published_{name.partition('/')[2]}") for name, own in names.items()}
    agreement = []
    for name, pair in pairs.items():
        known = np.isfinite([both.column(column) for column in pair]).all(0).sum().item()
        answer = queries.correlate(both, pair) if known > 1 else None
        coefficients = (_coefficient(answer, kind) for kind in ("spearman", "kendall"))
        agreement.append([_label(name), *coefficients, whole(known)])
    robust = [pair for name, pair in pairs.items() if name.endswith(("/pgd_8", "/pgd_8_last"))]
    by = [*robust, *pairs.values()][0]
    ranked = [queries.rank(both, name, len(both.ids))["top"] for name in by]
    here, there = ([cell for cell in cells if cell["id"] in shared] for cells in ranked)
    places = [{cell["id"]: rank for rank, cell in enumerate(cells, start=1)} for cells in (here, there)]
    columns = {
        "Cell": lambda cell: cell["code"],
        "Rank here": lambda cell: whole(places[0][cell["id"]]),
        "Rank there": lambda cell: whole(places[1][cell["id"]]),
        "Here": lambda cell: share(cell["values"].get(by[0]), 2),
        "There": lambda cell: share(cell["values"].get(by[1]), 2),
    }
    order = [cell for cell in here if cell["id"] in places[1]]
    head = ["Column", "Spearman\u2019s \u03c1", "Kendall\u2019s \u03c4-b", "Classes"]
    return found | {
        "order": Table.of("order", order, columns, f"In the order of {_label(by[0])}", UNIT),
        "agreement": Table("agreement", head, agreement, "Agreement"),
    }


def _protocol(first: NetworkResult) -> dict[str, Any]:
    attack = first.protocol["adversarial"]
    length = attack.get("step_size") or attack["step"]  # the name in results of former versions
    step = number_of(length) / number_of(attack["epsilon"])
    return {"first": first, "attack": catalogue.pgd(attack["steps"], step).label, "epsilon": attack["epsilon"]}
