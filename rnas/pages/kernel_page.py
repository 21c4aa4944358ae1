"""The page of a kernel study: how far scores before training agree with a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnas.artifacts.kernel_results import FILE, KernelGain, KernelResults, ScoreCorrelation, TableAgreement
from rnas.pages.kernel_plot import LABELS, kernel_label, plot_correlations, plot_strength
from rnas.pages.quantity import duration, exact
from rnas.pages.site import Fold, Tile, dotted, facts, publish, sections
from rnas.pages.table import Cell, Table, whole

_INTERVAL = "95\u202f% interval"
_CELL_SCORES = ("clean/lambda_min", "clean/condition", "clean/fit", "synflow", "naswot", "params")


def write_study_page(folder: str | Path) -> Path:
    """Writes `report.html` and its files into the folder of a study, from its `ntk.json`; returns the path.

    Raises:
      ValueError: the file cannot be read.
      OSError: a file could not be written.
    """
    folder = Path(folder)
    return publish(folder / "report.html", "kernels.html", study_context(KernelResults.read(folder / FILE)))


def study_context(results: KernelResults) -> dict[str, Any]:
    """The data of the page; see `rnas.pages.site`."""
    found = results.agreement
    column = _headline(found.columns) if found else None
    cells = Fold(f"Scores of {exact(len(results.architectures))} cells", _cells(results))
    return {
        "title": _title(results, column),
        "eyebrow": dotted("rnas", "tangent kernels", results.dataset["name"], "NAS-Bench-201"),
        "degenerate": [cell.code for cell in results.architectures if cell.degenerate],
        "tiles": _tiles(results, column),
        "column": column,
        "sections": sections(
            strength=("Against attack strength", found and _strength(results, column)),
            scores=("All scores", found and _scores(found)),
            gains=("What an attack adds to a kernel", found and _gains(found.gains, column)),
            best=("Among the best cells", found and found.best and _best(found)),
            cells=("Cells", cells),
            protocol=("Protocol", _protocol(results)),
        ),
    }


def _headline(columns: Sequence[str]) -> str:
    """The column that title and tiles are about: PGD-20 at 8/255 where it is among them, else the last one."""
    return next((name for name in columns if name.endswith("/pgd_8")), columns[-1])


def _strongest(found: TableAgreement, column: str, kernels: bool) -> ScoreCorrelation | None:
    """The score of kernels, or the other score, that agrees most with a column."""
    rows = [row for row in found.correlations if row.column == column and row.spearman is not None]
    return max((row for row in rows if bool(row.kernel) is kernels), key=lambda row: abs(row.spearman), default=None)


def _title(results: KernelResults, column: str | None) -> str:
    count = exact(len(results.architectures))
    best = _strongest(results.agreement, column, kernels=True) if column else None
    if best is None:
        return f"Scores of {count} cells before training"
    kernel = kernel_label(best.kernel)
    return f"Of {count} cells the {LABELS[best.kind]} of the {kernel} kernel ranks {column} best of all kernel scores"


def _tiles(results: KernelResults, column: str | None) -> list[Tile]:
    seconds = results.seconds
    shown = [
        Tile("Cells", exact(len(results.architectures)), {"images": exact(results.settings.images)}),
        Tile("Time of a cell, median", duration(seconds["median"]), {"in all": duration(seconds["total"])}),
    ]
    for title, kernels in (("Best kernel score", True), ("Best other score", False)):
        if column and (best := _strongest(results.agreement, column, kernels)):
            name = " ".join(filter(None, (LABELS[best.kind], kernel_label(best.kernel))))
            shown.append(Tile(f"{title}, |\u03c1| with {column}", f"{abs(best.spearman):.2f}", {name: ""}))
    return shown


def _strength(results: KernelResults, column: str) -> dict[str, Any]:
    found, epsilons = results.agreement, results.settings.ascending_epsilons
    pictures = {name: plot_strength(found.correlations, epsilons, name) for name in found.columns}
    return {"picture": pictures.pop(column), "others": [Fold(name, picture) for name, picture in pictures.items()]}


def _scores(found: TableAgreement) -> dict[str, Any]:
    return {
        "picture": plot_correlations(found.correlations, found.shown, found.columns),
        "table": Fold("In figures", _correlation_table("correlations", found.correlations, found.columns)),
    }


def _correlation_table(name: str, rows: Sequence[ScoreCorrelation], columns: Sequence[str]) -> Table:
    """A row a score and kernel, the kernels of a score one below the other."""
    at = {(row.score, row.column): row for row in rows}
    order = list(LABELS)
    scores = sorted({row.score: row for row in rows}.values(), key=lambda row: order.index(row.kind))
    lines = [
        [LABELS[row.kind], kernel_label(row.kernel), *(_coefficient(at[row.score, column]) for column in columns)]
        for row in scores
    ]
    return Table(name, ["Score", "Kernel", *columns], lines, "Spearman\u2019s \u03c1", below=_INTERVAL, kind="accuracy")


def _coefficient(row: ScoreCorrelation) -> Cell:
    if row.spearman is None or row.low is None:
        return Cell()
    return Cell(f"{row.spearman:.2f}", f"{row.low:.2f} to {row.high:.2f}", row.spearman, kind="strong")


def _gains(gains: Sequence[KernelGain], column: str) -> Table:
    """A row a score, a column a pair of kernels."""
    rows = [row for row in gains if row.column == column]
    lines: dict[str, list[Cell]] = {}
    for row in rows:
        lines.setdefault(row.score, []).append(_gain(row))
    pairs = dict.fromkeys((row.kernel, row.over) for row in rows)
    head = [Cell(kernel_label(one), f"over {kernel_label(other)}") for one, other in pairs]
    body = [[LABELS[score], *cells] for score, cells in lines.items()]
    return Table("gains", ["Score", *head], body, f"Gain in |\u03c1| with {column}", below=_INTERVAL, kind="accuracy")


def _gain(row: KernelGain) -> Cell:
    if row.gain is None or row.low is None:
        return Cell()
    clear = row.low > 0 or row.high < 0
    return Cell(f"{row.gain:+.3f}", f"{row.low:+.3f} to {row.high:+.3f}", row.gain, kind="strong" if clear else "")


def _best(found: TableAgreement) -> dict[str, Any]:
    best = found.best
    table = _correlation_table("correlations_best", best.correlations, found.columns)
    return {"count": best.count, "share": best.share, "by": best.by, "table": Fold("In figures", table)}


def _cells(results: KernelResults) -> Table:
    rows = [
        [cell.code, whole(cell.id), *(Cell(f"{cell.scores[n]:.4g}", value=cell.scores[n]) for n in _CELL_SCORES)]
        for cell in results.architectures
    ]
    return Table("cells", ["Cell", "Id", *(LABELS[name.rpartition("/")[2]] for name in _CELL_SCORES)], rows)


def _protocol(results: KernelResults) -> Mapping[str, Any]:
    settings = results.settings
    table = results.agreement and results.agreement.table
    return facts(
        {
            "Images": f"{settings.images} training images of {results.dataset['name']}, balanced over classes: "
            f"{results.dataset['description']}",
            "Initialisations": f"{settings.initialisations}, seed {settings.seed}",
            "Network": f"{settings.channels} channels, cells in each of the three stages: {settings.cells}",
            "Kernel": f"{settings.output} of the logits, {settings.parameters} parameters; "
            f"\u03b2 = {settings.beta:g} in the mixed ones",
            "Attack": f"{settings.attack_label} on the cross-entropy, L\u221e, radii {', '.join(settings.epsilons)}",
            "Table": table and f"{table['source']}, SHA-256 {table['sha256'][:12]}\u2026",
            "Processor time": f"{duration(results.cpu_seconds['total'])} in all, one compilation included",
            "Device": results.device,
            "Versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
        }
    )
