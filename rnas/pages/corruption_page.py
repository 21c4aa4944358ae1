"""Accuracy under common corruptions: the page of one measurement, and its part in the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.artifacts.corruptions import COMPUTED, FILE, GROUPS, SEVERITIES, CorruptionRow, CorruptionSummary, mean
from rnas.artifacts.evaluation import ModelScores
from rnas.pages.canvas import INK, Picture, draw, heatmap, scale
from rnas.pages.quantity import decimals, exact, percent
from rnas.pages.site import Fold, Tile, dotted, publish, sections
from rnas.pages.table import UNIT, Cell, Table, accuracy, interval, seconds, settings_table, share
from rnas.pages.workdir import Workdir

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMES = {"jpeg_compression": "JPEG compression", "frost_procedural": "Frost, procedural (ours)"}
_ROW = 23  # CSS pixels of a type in the picture


def write_corruption_page(folder: str | Path) -> Path:
    """Writes `report.html` and `report/` of one measurement into its own folder; returns the path.

    It needs no run beside it. The same files give the same bytes.

    Raises:
        ValueError: the measurement is not finished, or its file cannot be read.
    """
    file = Path(folder) / FILE
    if not file.exists():
        raise ValueError(f"{folder} holds no finished measurement: {FILE} is missing. Finish it first")
    return publish(Path(folder) / "report.html", "corruptions.html", corruption_context(CorruptionSummary.read(file)))


def corruption_context(summary: CorruptionSummary) -> dict[str, Any]:
    """The context of the page of one measurement."""
    parts = _parts("corruptions", summary)
    return {
        "title": f"{summary.model.label} keeps {percent(summary.mean)} accuracy under common corruptions, "
        f"{percent(summary.clean.accuracy)} without",
        "eyebrow": dotted("rnas", "common corruptions", summary.dataset.name, summary.model.architecture),
        "tiles": _tiles(summary),
        "sections": sections(
            types=("By type and severity", parts),
            groups=("By group", parts),
            measured=("How it was measured", {**parts, "duration": seconds(summary.seconds).text}),
        ),
    }


def corruptions_of_run(files: Workdir) -> dict[str, Any] | None:
    """The measurements of a run: all in one table, and the parts of each."""
    if not files.corruptions:
        return None
    columns = {
        "Model": lambda summary: summary.model.label,
        "Clean": lambda summary: accuracy(summary.clean),
        "Mean": lambda summary: _mean_cell(summary.mean, summary),
        "With our frost": lambda summary: _mean_cell(summary.mean_with_ours, summary) if summary.has_ours else Cell(),
        **{group.capitalize(): _of_group(group) for group in GROUPS},
        "Images": lambda summary: _images(summary),
    }
    found = files.corruptions
    table = Table.of("corruptions", found.values(), columns, "Models", f"mean {UNIT}", kind="accuracy")
    return {
        "table": table,
        "measurements": [
            {"title": _title(summary), **_parts(f"corruptions_{name}", summary)} for name, summary in found.items()
        ],
    }


def under_corruptions(model: ModelScores) -> Cell:
    """The mean of a model over the published types, below it how many there are and where the images come from."""
    found = model.corruptions
    if found is None:
        return Cell()
    source = "" if found.source == COMPUTED else f", {found.source}"
    few = "" if found.count == model.clean.count else f", {exact(found.count)} images"
    return share(found.accuracy, decimals(found.count), f"{found.types} types{source}{few}", "strong")


def label_of(name: str) -> str:
    """What people read for a type: 'Gaussian noise'."""
    return _NAMES.get(name) or name.replace("_", " ").capitalize()


def source_of(summary: CorruptionSummary) -> str:
    """Where the corrupted images come from, in words."""
    return "computed here" if summary.source == COMPUTED else f"of {summary.source}"


def _title(summary: CorruptionSummary) -> str:
    return f"{summary.model.label}, {_images(summary)} {source_of(summary)}"


def _images(summary: CorruptionSummary) -> str:
    return f"{exact(summary.score.count)} images"


def _parts(name: str, summary: CorruptionSummary) -> dict[str, Any]:
    """What a page shows of one measurement."""
    return {
        "summary": summary,
        "source": source_of(summary),
        "published": summary.score.types,
        "heat": _draw_heat(f"{name}_heat", summary),
        "table": Fold("The same in figures", _type_table(f"{name}_types", summary)),
        "groups": _group_table(f"{name}_groups", summary),
        "settings": settings_table(f"{name}_settings", summary.identity),
    }


def _tiles(summary: CorruptionSummary) -> list[Tile]:
    places = decimals(summary.clean.count)
    published = f"Mean over {summary.score.types} published types"
    ours = {"with our frost": percent(summary.mean_with_ours, places)} if summary.has_ours else {}
    worst = min(summary.rows, key=lambda row: row.mean)
    clean = summary.clean
    return [
        Tile("Clean accuracy", percent(clean.accuracy, places), {"95\u202f% interval": interval(clean)}),
        Tile(published, percent(summary.mean, places), ours),
        Tile("Lowest type", percent(worst.mean, places), {label_of(worst.name): ""}),
    ]


def _type_table(name: str, summary: CorruptionSummary) -> Table:
    columns: dict[str, Any] = {
        "Type": lambda row: label_of(row.name),
        "Group": lambda row: row.group,
        "Standing": lambda row: row.standing,
        **{f"Severity {severity}": _at(severity) for severity in SEVERITIES},
        "Mean": lambda row: _mean_cell(row.mean, summary),
    }
    return Table.of(name, summary.rows, columns, "", UNIT, kind="accuracy")


def _at(severity: int) -> Any:
    def cell(row: CorruptionRow) -> Cell:
        score = row.severities[severity - 1]
        return share(score.accuracy, decimals(score.count))

    return cell


def _group_table(name: str, summary: CorruptionSummary) -> Table:
    """Means of the published types of each group, severity by severity."""
    rows: list[list[Any]] = []
    for group in (*GROUPS, ""):
        members = [row for row in summary.rows if row.standing == "published" and group in ("", row.group)]
        if members:
            means = [mean(row.severities[severity - 1].accuracy for row in members) for severity in SEVERITIES]
            cells = [_mean_cell(each, summary, "") for each in means]
            words = Cell(group.capitalize() or "All published types", f"{len(members)} types")
            rows.append([words, *cells, _mean_cell(mean(means), summary)])
    head = ["Group", *(f"Severity {severity}" for severity in SEVERITIES), "Mean"]
    return Table(name, head, rows, "Published types", f"mean {UNIT}", kind="accuracy last")


def _of_group(group: str) -> Any:
    def cell(summary: CorruptionSummary) -> Cell:
        members = [row.mean for row in summary.rows if row.standing == "published" and row.group == group]
        return _mean_cell(mean(members), summary, "")

    return cell


def _mean_cell(value: float, summary: CorruptionSummary, kind: str = "strong") -> Cell:
    return share(value, decimals(summary.clean.count), kind=kind)


def _draw_heat(name: str, summary: CorruptionSummary) -> Picture:
    """Types by severities and their mean: accuracy in per cent, written and as a colour; a line under the published."""
    order = ("published", "ours", "extra")
    rows = sorted(summary.rows, key=lambda row: (order.index(row.standing), GROUPS.index(row.group)))
    values = 100 * np.array([[*(score.accuracy for score in row.severities), row.mean] for row in rows])
    labels = [label_of(row.name) + (" (extra)" if row.standing == "extra" else "") for row in rows]
    ends = [place for place in range(1, len(rows)) if rows[place].standing != rows[place - 1].standing]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        image = heatmap(axes, values, labels, [*map(str, SEVERITIES), "mean"], cmap="Blues", vmin=0, vmax=100)
        scale(figure, image, axes, "%")
        axes.tick_params(labelsize=8)
        axes.set_xlabel("severity", fontsize=8)
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > 60 else INK
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7.5, color=colour)
        for place in ends:
            axes.axhline(place - 0.5, color=INK, linewidth=1)
        axes.axvline(len(SEVERITIES) - 0.5, color=INK, linewidth=1)

    words = "; ".join(f"{label} {value:.1f}" for label, value in zip(labels, values[:, -1], strict=True))
    alt = f"Accuracy in per cent by type and severity of corruption; means over severities: {words}."
    return draw(name, alt, (620, 70 + _ROW * len(rows)), paint)
