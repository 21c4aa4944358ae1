"""Pages of tables: of a complete one with answers to all queries, and of one whose networks are still being trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts.files import read_json
from rnas.artifacts.table_of_runs import METRICS
from rnas.artifacts.table_results import NetworkResult, has_results, merge, planned_networks, read_results
from rnas.attacks import catalogue
from rnas.pages.quantity import compact, decimals, exact, number_of, percent
from rnas.pages.site import Fold, Tile, dotted, facts, publish, sections
from rnas.pages.table import DASH, Cell, Table, settings_table, share, short, whole
from rnas.pages.table_plot import plot_agreement, plot_front, plot_search
from rnas.spaces import nasbench201
from rnas.tabular import queries
from rnas.tabular.column_attacks import column_label
from rnas.tabular.queries import Answer
from rnas.tabular.reading import columns_of_runs, load_robbench
from rnas.tabular.table import RobBench, is_cost

_RANKED_BY = ("pgd_8", "fgsm_8", "pgd_3", "fgsm_3", "clean")  # a table in the making, by the first that it has
_UNIT = "accuracy in %"
_HEADINGS = {"params": "Parameters", "macs": "MACs", "clean": "Clean"}


def write_table_page(table: RobBench, answers: Mapping[str, Any], path: str | Path) -> Path:
    """Writes the page of a table and its files; returns the path.

    Args:
      table: complete, or not.
      answers: of `rnas.tabular.queries.overview`.
      path: of the HTML file.

    Raises:
      OSError: a file could not be written.
    """
    return publish(Path(path), "table.html", table_context(table, answers))


def write_training_page(workdir: str | Path, beside: Sequence[str | Path] = ()) -> Path:
    """Writes `report.html` and its files into the work directory of `rnas tabular train`: the results so far.

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
    published = load_robbench(beside[0]) if beside else None
    return publish(workdir / "report.html", "table.html", training_context(workdir, published))


# -- a table -----------------------------------------------------------------------------------------------


def table_context(table: RobBench, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the page of a table; see `rnas.pages.site`."""
    clean, by = answers["front"]["columns"]
    best = answers["rank"]["top"][0]
    return {
        "title": f"The best of {exact(len(table.ids))} cells, {best['code']}, {_keeps(best, by)}",
        "eyebrow": dotted("rnas", "table of cells", _dataset(by), "NAS-Bench-201"),
        "unfinished": "",
        "warnings": [],
        "tiles": _tiles(table, answers),
        "sections": sections(
            front=("Clean against robust", _front(table, answers["front"])),
            best=(f"Best by {_label(by)}", _best(answers["rank"])),
            agreement=("Agreement of columns", _agreement(answers)),
            search=("Searching the table", answers["searches"] and _searches(by, answers["searches"])),
            columns=("All columns", _summary(answers["rank"]["summary"])),
            table=("The table", _source(table)),
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


def _keeps(cell: Answer, by: str) -> str:
    accuracy = percent(cell["values"][by], 2)
    return f"reaches {accuracy} clean accuracy" if by.endswith("/clean") else f"keeps {accuracy} under {_label(by)}"


def _figure(column: str, value: float | None) -> Cell:
    return short(None if value is None else int(value)) if is_cost(column) else share(value, 2)


def _coefficient(answer: Answer | None, kind: str = "spearman") -> Cell:
    """Of the first two columns of an answer."""
    value = answer[kind][0][1] if answer else None
    return Cell() if value is None else Cell(f"{value:.3f}", value=value)


def _best_tile(column: str, summary: Mapping[str, Answer], **beside: str) -> Tile:
    best, median = (percent(summary[column][kind], 2) for kind in ("best", "median"))
    return Tile(f"Best, {_label(column)}", best, {**beside, "median": median})


def _tiles(table: RobBench, answers: Mapping[str, Any]) -> list[Tile]:
    summary, columns, best = answers["rank"]["summary"], answers["front"]["columns"], answers["best"]
    shown = [Tile("Classes of cells", exact(len(table.ids)), {"cells": exact(nasbench201.SIZE)})]
    shown += [_best_tile(name, summary, mean=percent(summary[name]["mean"], 2)) for name in dict.fromkeys(columns)]
    if answers["agreement"]:
        among = {f"best {percent(best['best'], 0)}": _coefficient(best).text or DASH} if best else {}
        pair = _coefficient(queries.correlate(table, columns))
        shown.append(Tile("Rank correlation of the two", pair.text or DASH, among))
    return shown


def _front(table: RobBench, answer: Answer) -> dict[str, Any] | None:
    clean, robust = answer["columns"]
    if answer["count"] < 2 or clean == robust:
        return None
    costs = [f"{_dataset(clean)}/{kind}" for kind in ("params", "macs")]
    rows = [
        [
            cell["code"],
            whole(cell["id"]),
            *(share(cell["values"][name], 2) for name in (clean, robust)),
            *(_figure(name, table.query(cell["id"], *name.split("/"))) for name in costs),
        ]
        for cell in answer["members"]
    ]
    head = ["Cell", "Id", *map(_heading, (clean, robust, *costs))]
    caption = f"The front, {len(rows)} of {exact(answer['count'])} classes"
    points = np.stack([table.column(clean), table.column(robust)], axis=1)
    known = np.flatnonzero(np.isfinite(points).all(1))
    ids = [table.ids[row] for row in known]
    members = np.array([ids.index(cell["id"]) for cell in answer["members"]])
    codes = [nasbench201.to_code(number) for number in ids]
    return {
        "picture": plot_front(points[known], table.column(costs[1])[known], codes, members, (clean, robust)),
        "table": Table("front", head, rows, caption, unit=_UNIT),
    }


def _best(answer: Answer) -> dict[str, Any]:
    dataset = _dataset(answer["by"])
    names = [name for name in answer["summary"] if _dataset(name) == dataset]
    rows = [
        [cell["code"], whole(cell["id"]), *(_figure(name, cell["values"].get(name)) for name in names)]
        for cell in answer["top"]
    ]
    return {
        "table": Table("best", ["Cell", "Id", *map(_heading, names)], rows, f"The first {len(rows)}", unit=_UNIT),
        "edges": len(nasbench201.EDGES) * len(rows),
        "operations": answer["operations"],
    }


def _agreement(answers: Mapping[str, Any]) -> dict[str, Any] | None:
    if not answers["agreement"]:
        return None
    best = answers["best"]
    among = best and {
        "share": best["best"],
        "count": best["count"][0][1],
        "robust": _label(best["columns"][1]),
        "coefficient": _coefficient(best),
    }
    return {"picture": plot_agreement(answers["agreement"]), "among_best": among}


def _summary(summary: Mapping[str, Answer]) -> dict[str, Any]:
    def figure(column: str, value: float) -> Cell:
        return Cell(compact(value), value=value) if is_cost(column) else share(value, 2)

    rows = [
        [
            Cell(name, _label(name) if _heading(name).below else ""),
            *(figure(name, row[kind]) for kind in ("median", "mean", "best")),
            f"{nasbench201.to_code(row['best_id'])} ({exact(row['best_id'])})",
            whole(row["count"]),
        ]
        for name, row in summary.items()
    ]
    head = ["Column", "Median", "Mean", "Best", "Of cell (id)", "Classes"]
    return {
        "table": Table("columns", head, rows, "Over all classes", _UNIT, "attack"),
        "standard": any("/standard_" in name for name in summary),
        "scores": any("/score_" in name for name in summary),
    }


def _searches(by: str, answers: Sequence[Answer]) -> dict[str, Any]:
    rows = []
    for answer in answers:
        chosen, queries_until = answer["chosen"][by], answer["optimum"]["queries"]
        rows.append(
            [
                answer["algorithm"].replace("_", " "),
                share(chosen["mean"], 2, f"\u00b1 {percent(chosen['std'], 2, unit=False)}", "strong"),
                share(answer["curve"]["quantiles"]["0.5"][-1], 2),
                share(answer["regret"]["mean"], 2),
                share(answer["optimum"]["reached"]),
                Cell(f"{queries_until['mean']:.0f}", value=queries_until["mean"]) if queries_until else Cell(),
            ]
        )
    head = ["Algorithm", _heading(by), "Median", "Short of the best", "Found the best", "Queries until then"]
    return {
        "picture": plot_search(answers),
        "table": Table("searches", head, rows, "What the searches choose", "means, shares in %", "standard deviation"),
        "random_search": answers[0]["random_search"],
        **{key: answers[0][key] for key in ("repeats", "budget", "seed")},
    }


def _source(table: RobBench) -> dict[str, Any]:
    return facts(
        {
            "File": Path(table.source).name,
            "SHA-256": table.sha256 and Cell(table.sha256, kind="code"),
            "Classes": exact(len(table.ids)),
            "Data sets": ", ".join(table.datasets),
            "Seeds": ", ".join(sorted({seed for runs in table.seeds.values() for seed in runs})),
        }
    )


# -- a table in the making ---------------------------------------------------------------------------------


def training_context(workdir: Path, published: RobBench | None = None) -> dict[str, Any]:
    """The data of the page of a table in the making; see `rnas.pages.site`. Raises as `write_training_page`."""
    config = read_json(workdir / "config.json")
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
        "warnings": _failed_checks(written),
        "tiles": [],
    }
    if not written:
        return page | {"sections": sections(protocol=("Protocol", {"facts": {}, "settings": settings}))}
    table = RobBench(str(workdir), "", *columns_of_runs(merge([workdir])))
    by = next(f"{dataset}/{metric}" for metric in _RANKED_BY if f"{dataset}/{metric}" in table.values)
    answers = queries.overview(table, by, top=len(table.ids), best=None)
    best = answers["rank"]["top"][0]
    return page | {
        "title": f"{progress} trained: {best['code']} {_keeps(best, by)}",
        "tiles": _training_tiles(table, answers, written),
        "sections": sections(
            results=("Results", _results(table, answers["rank"], written)),
            front=("Clean against robust", _front(table, answers["front"])),
            beside=("Beside the published table", published and _beside(table, published)),
            agreement=("Agreement of columns", _agreement(answers)),
            protocol=("Protocol", {"facts": _protocol(written[0]), "settings": settings}),
        ),
    }


def _failed_checks(written: Sequence[NetworkResult]) -> list[str]:
    return [
        f"Sanity checks {', '.join(result.failed_checks)} of AutoAttack on {result.code}, seed {result.seed}, "
        "failed: its accuracy may be too high."
        for result in written
        if result.failed_checks
    ]


def _training_tiles(table: RobBench, answers: Answer, written: Sequence[NetworkResult]) -> list[Tile]:
    summary, columns = answers["rank"]["summary"], answers["front"]["columns"]
    shown = [Tile("Networks", exact(len(written)), {"classes of cells": exact(len(table.ids))})]
    for name in dict.fromkeys((*columns, f"{_dataset(columns[0])}/autoattack")):
        if name in summary:
            shown.append(_best_tile(name, summary, cell=nasbench201.to_code(summary[name]["best_id"])))
    return shown


def _results(table: RobBench, answer: Answer, written: Sequence[NetworkResult]) -> Table:
    """A row a cell, best first; below the mean over seeds the accuracy of each."""
    metrics = [metric for metric in METRICS if any(metric in result.accuracy for result in written)]
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

    rows = [
        [
            cell["code"],
            whole(cell["id"]),
            ", ".join(map(str, runs[cell["id"]])),
            *(figure(cell["id"], metric) for metric in metrics),
        ]
        for cell in answer["top"]
    ]
    head = ["Cell", "Id", "Seeds", *(_heading(f"/{metric}") for metric in metrics)]
    return Table("results", head, rows, "Best first", f"{_UNIT}, mean over seeds", "accuracy of each", "accuracy")


def _beside(table: RobBench, published: RobBench) -> dict[str, Any]:
    """The order of the cells here and in another table, and how far they agree."""
    dataset = table.datasets[0]
    names = [name for name in table.values if name in published.values]
    shared = set(table.ids) & set(published.ids)
    found = {"file": Path(published.source).name, "dataset": dataset, "count": len(shared)}
    if not names:
        return found | {"datasets": published.datasets}
    both = table.joined(published, "published")
    pairs = {name: (name, f"{dataset}/published_{name.partition('/')[2]}") for name in names}
    agreement = []
    for name, pair in pairs.items():
        known = np.isfinite([both.column(column) for column in pair]).all(0).sum().item()
        answer = queries.correlate(both, pair) if known > 1 else None
        coefficients = (_coefficient(answer, kind) for kind in ("spearman", "kendall"))
        agreement.append([_label(name), *coefficients, whole(known)])
    by = next((pair for name, pair in pairs.items() if name.endswith("/pgd_8")), pairs[names[0]])
    ranked = [queries.rank(both, name, len(both.ids))["top"] for name in by]
    here, there = ([cell for cell in cells if cell["id"] in shared] for cells in ranked)
    place = {cell["id"]: rank for rank, cell in enumerate(there, start=1)}
    order = [
        [cell["code"], whole(rank), whole(place[cell["id"]]), *(share(cell["values"].get(name), 2) for name in by)]
        for rank, cell in enumerate(here, start=1)
        if cell["id"] in place
    ]
    head = ["Cell", "Rank here", "Rank there", "Here", "There"]
    columns = ["Column", "Spearman\u2019s \u03c1", "Kendall\u2019s \u03c4-b", "Classes"]
    return found | {
        "order": Table("order", head, order, f"In the order of {_label(by[0])}", unit=_UNIT),
        "agreement": Table("agreement", columns, agreement, "Agreement"),
    }


def _protocol(first: NetworkResult) -> dict[str, Any]:
    train, attack = first.protocol["train"], first.protocol["adversarial"]
    length = attack.get("step_size") or attack["step"]  # the name in results of former versions
    step = number_of(length) / number_of(attack["epsilon"])
    held_out = first.protocol["data"]["held_out"]
    images = f"of {exact(held_out)} held-out training images" if held_out else "test images"
    networks = "one supernet for all cells" if train["weights"] == "shared" else "a network for each cell and seed"
    return facts(
        {
            "Data": f"{first.dataset}, SHA-256 {first.protocol['images'][:12]}\u2026",
            "Training": f"{train['epochs']} epochs, batches of {train['batch_size']}, {networks}",
            "Attack in training": f"{catalogue.pgd(attack['steps'], step).label}, \u03b5 = {attack['epsilon']}",
            "Judged on": first.count and f"{exact(first.count)} {images}, the network of the last epoch",
            "Device": first.device,
            "Versions": ", ".join(f"{name} {version}" for name, version in (first.versions or {}).items()),
        }
    )
