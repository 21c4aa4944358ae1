"""The page of a kernel study: how far scores before training agree with a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnas.artifacts.kernel_results import FILE, CellScores, KernelGain, KernelResults, ScoreCorrelation, TableAgreement
from rnas.pages.canvas import ACCENT, BLUE, COLUMN, DOTS, FAINT, GREEN, INK, OLIVE, PURPLE, QUIET, Picture, draw
from rnas.pages.cells import code_legend
from rnas.pages.quantity import exact
from rnas.pages.site import Fold, dotted, publish, say, sections
from rnas.pages.table import Cell, Table, identity, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "lambda_min": "\u03bb min",
    "frobenius": "Frobenius norm",
    "trace": "trace",
    "condition": "condition number",
    "log_det": "log determinant",
    "mean": "mean entry",
    "fit": "\u221a(y\u1d40K\u207b\u00b9y / N)",
    "synflow": "synflow",
    "naswot": "NASWOT",
    "gradient_norm": "gradient norm",
    "jacobian_norm": "Jacobian norm",
    "params": "parameters",
    "macs": "MACs",
    "conv_3x3": "3\u00d73 edges",
}
_INTERVAL = "95\u202f% interval"
_KERNEL_SCORES, _OTHERS = ("lambda_min", "condition", "fit"), ("synflow", "naswot", "params")  # of every cell


def write_kernel_page(folder: str | Path) -> Path:
    """Writes `report.html` and its files into the folder of a study, from its `ntk.json`; returns the path."""
    folder = Path(folder)
    return publish(folder / "report.html", "kernels.html", kernel_context(KernelResults.read(folder / FILE)))


def kernel_context(results: KernelResults) -> dict[str, Any]:
    """The data of the page; see `rnas.pages.site`."""
    count = exact(len(results.architectures))
    page: dict[str, Any] = {
        "title": f"Scores of {count} cells before training",
        "eyebrow": dotted("rnas", "tangent kernels", results.dataset["name"], "NAS-Bench-201"),
        "degenerate": [cell.code for cell in results.architectures if cell.degenerate],
        "results": results,
        "strongest": {},
        "legend": code_legend(),
    }
    parts: dict[str, Any] = {}
    if found := results.agreement:
        # Title and tiles are about PGD-20 at 8/255 where it is among the columns, else about the last one.
        column = next((name for name in found.columns if name.endswith("/pgd_8")), found.columns[-1])
        for noun, kernels in (("kernel", True), ("other", False)):
            if one := _strongest(found, column, kernels):
                name = f"{LABELS[one.kind]} {_kernel(one.kernel)}".strip()
                page["strongest"][f"Best {noun} score, |\u03c1| with {column}"] = (one, name)
        if one := _strongest(found, column, kernels=True):
            score = f"{LABELS[one.kind]} of the {_kernel(one.kernel)} kernel"
            page["title"] = f"Of {count} cells the {score} ranks {column} best of all kernel scores"
        pictures = {name: _plot_strength(results, name) for name in found.columns}
        others = [Fold(name, picture) for name, picture in pictures.items() if name != column]
        all_scores = {"picture": _plot_correlations(found), "table": _figures("", found.correlations, found)}
        best = found.best and {"of": found.best, "table": _figures("_best", found.best.correlations, found)}
        page["column"] = column
        parts = {
            "strength": ("Against attack strength", {"picture": pictures[column], "others": others}),
            "scores": ("All scores", all_scores),
            "gains": ("What an attack adds to a kernel", _gains(found.gains, column)),
            "best": ("Among the best cells", best),
        }
    parts["cells"] = ("Cells", Fold(f"Scores of {count} cells", _cells(results), unfolded=True))
    return page | {"sections": sections(**parts, protocol=("Protocol", results.settings))}


def _kernel(name: str) -> str:
    """'robust@8/255' → 'robust (8/255)'."""
    family, _, radius = name.replace("_", " ").partition("@")
    return f"{family} ({radius})" if radius else family


def _strongest(found: TableAgreement, column: str, kernels: bool) -> ScoreCorrelation | None:
    """The score of kernels, or the other score, that agrees most with a column."""
    rows = [row for row in found.correlations if row.column == column and row.spearman is not None]
    return max((row for row in rows if bool(row.kernel) is kernels), key=lambda row: abs(row.spearman), default=None)


def _coefficient(row: ScoreCorrelation | KernelGain, value: float | None, form: str, clear: bool = True) -> Cell:
    if value is None or row.low is None:
        return Cell()
    ends = f"{row.low:{form}} to {row.high:{form}}"
    return Cell(f"{value:{form}}", ends, value, kind="strong" if clear else "")


def _figures(suffix: str, rows: Sequence[ScoreCorrelation], found: TableAgreement) -> Fold:
    """A row a score and kernel, the kernels of a score one below the other."""
    at = {(row.score, row.column): row for row in rows}
    order = list(LABELS)
    lines = []
    for row in sorted({row.score: row for row in rows}.values(), key=lambda row: order.index(row.kind)):
        others = [at[row.score, column] for column in found.columns]
        lines.append(
            [LABELS[row.kind], _kernel(row.kernel), *(_coefficient(one, one.spearman, ".2f") for one in others)]
        )
    head, caption = ["Score", "Kernel", *found.columns], "Spearman\u2019s \u03c1"
    return Fold("In figures", Table(f"correlations{suffix}", head, lines, caption, below=_INTERVAL, kind="accuracy"))


def _gains(gains: Sequence[KernelGain], column: str) -> Table:
    """A row a score, a column a pair of kernels; bold where the interval lacks 0."""
    lines: dict[str, list[Any]] = {}
    pairs: dict[tuple[str, str], Cell] = {}
    for row in gains:
        if row.column == column:
            clear = row.low is not None and (row.low > 0 or row.high < 0)
            lines.setdefault(row.score, [LABELS[row.score]]).append(_coefficient(row, row.gain, "+.3f", clear))
            pairs[row.kernel, row.over] = Cell(_kernel(row.kernel), f"over {_kernel(row.over)}")
    head, caption = ["Score", *pairs.values()], f"Gain in |\u03c1| with {column}"
    return Table("gains", head, list(lines.values()), caption, below=_INTERVAL, kind="accuracy")


def _cells(results: KernelResults) -> Table:
    """A row a cell: scores of the clean kernel and of those under attack, then those without a kernel."""
    kernels = ["clean", *(f"robust@{epsilon}" for epsilon in results.settings.ascending_epsilons)]
    names = [*((kernel, score) for kernel in kernels for score in _KERNEL_SCORES), *(("", name) for name in _OTHERS)]
    columns = [Cell(LABELS[score], _kernel(kernel)) for kernel, score in names]

    def figure(cell: CellScores, kernel: str, score: str) -> Cell:
        value = cell.scores[f"{kernel}/{score}" if kernel else score]
        return short(value) if score == "params" else Cell(f"{value:.4g}", value=value)

    rows = [[cell.code, identity(cell.id), *(figure(cell, *name) for name in names)] for cell in results.architectures]
    return Table("cells", ["Cell", "Id", *columns], rows, kind="accuracy")


_LOOKS = ((INK, "s"), (BLUE, "o"), (ACCENT, "D"), (GREEN, "^"), (PURPLE, "v"), (OLIVE, "P"), (QUIET, "X"))
_ROW, _PANELS = 26, 3  # CSS pixels; panels beside one another
_AXIS = "Spearman\u2019s \u03c1, with its 95 % interval"

Points = Iterable[tuple[float, ScoreCorrelation | None]]


def _plot_correlations(agreement: TableAgreement) -> Picture:
    """Spearman's coefficient of every score with its interval, one panel a column; of seven kernels at most."""
    rows, kernels, columns = agreement.correlations, agreement.shown, agreement.columns
    found = {(row.score, row.column): row for row in rows if row.spearman is not None}
    names, lines = list(LABELS), -(-len(columns) // _PANELS)
    series = [(_kernel(kernel), f"{kernel}/", looks) for kernel, looks in zip(kernels, _LOOKS, strict=False)]
    shifts = [(place - (len(series) - 1) / 2) * 0.8 / len(series) for place in range(len(series))]

    def paint(figure: Figure) -> None:
        panels = figure.subplots(lines, min(len(columns), _PANELS), sharex=True, sharey=True, squeeze=False).ravel()
        for panel, column in zip(panels, columns, strict=False):
            panel.axvline(0, color=FAINT, linewidth=0.8)
            of = [*zip(series, shifts, strict=True), (("without a kernel", "", (FAINT, "o")), 0)]
            for (label, prefix, looks), shift in of:
                points = ((i + shift, found.get((f"{prefix}{name}", column))) for i, name in enumerate(names))
                _coefficients(panel, points, looks, label)
            panel.set_title(column)
            panel.set(yticks=range(len(names)), yticklabels=LABELS.values(), xlim=(-1.08, 1.08))
            panel.set_ylim(len(names) - 0.5, -0.5)
        for panel in panels[len(columns) :]:
            panel.set_visible(False)
        figure.supxlabel(_AXIS, fontsize=8.5)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=6)

    best = max(found.values(), key=lambda row: abs(row.spearman), default=None)
    return draw("scores", say("correlations", columns, best), (COLUMN, 90 + lines * (_ROW * len(names) + 40)), paint)


def _plot_strength(results: KernelResults, column: str) -> Picture:
    """Spearman's coefficient of kernel scores against the radius of the attack, with its interval; a panel a score.

    At radius 0 every kernel is the clean one.
    """
    rows, epsilons = results.agreement.correlations, results.settings.ascending_epsilons
    found = {row.score: row for row in rows if row.spearman is not None and row.column == column}
    scores = [name for name in LABELS if f"clean/{name}" in found]
    families = dict.fromkeys(name.partition("@")[0] for name in found if "@" in name)
    lines = -(-(len(scores) + 1) // _PANELS)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(lines, _PANELS, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, name in zip(panels, scores, strict=False):
            panel.axhline(0, color=FAINT, linewidth=0.8)
            if "params" in found:
                dots = {"color": INK, "linewidth": 1, "linestyle": DOTS, "label": "parameters alone"}
                panel.axhline(found["params"].spearman, **dots)
            clean = found[f"clean/{name}"]
            for number, (family, looks) in enumerate(zip(families, _LOOKS[1:], strict=False)):
                shift = 0.05 * (number - (len(families) - 1) / 2)
                attacked = [found.get(f"{family}@{epsilon}/{name}") for epsilon in epsilons]
                points = [(place + shift, row) for place, row in enumerate(attacked, start=1) if row]
                line = [(0, clean), *points]
                panel.plot([x for x, _ in line], [row.spearman for _, row in line], color=looks[0], linewidth=0.9)
                _coefficients(panel, points, looks, family.replace("_", " "), upright=True)
            _coefficients(panel, [(0, clean)], _LOOKS[0], "clean", upright=True)
            panel.set_title(LABELS[name])
            panel.set(xticks=range(len(epsilons) + 1), xticklabels=["0", *epsilons])
            panel.set(ylim=(-1.05, 1.05), xlim=(-0.25, len(epsilons) + 0.25))
        for panel in panels[len(scores) :]:
            panel.set_axis_off()
        for panel in panels[max(0, len(scores) - _PANELS) : len(scores)]:  # nothing below it
            panel.tick_params(labelbottom=True)
        legend = panels[len(scores)].legend(*panels[0].get_legend_handles_labels(), loc="upper left", ncols=2)
        legend.set_in_layout(False)
        figure.supxlabel("Radius \u03b5 of the attack on the images of the kernel", fontsize=8.5)
        figure.supylabel(_AXIS, fontsize=8.5)

    words = say("strength", found, scores, LABELS, column)
    return draw(f"strength_{column.replace('/', '_')}", words, (COLUMN, 60 + 186 * lines), paint)


def _coefficients(panel: Axes, points: Points, looks: tuple[str, str], label: str, upright: bool = False) -> None:
    """Coefficients with their intervals; a point without a coefficient is left out."""
    known = [(place, row) for place, row in points if row]
    if not known:
        return
    places, rows = zip(*known, strict=True)
    at = [row.spearman for row in rows]
    ends = [[max(0.0, row.spearman - row.low) for row in rows], [max(0.0, row.high - row.spearman) for row in rows]]
    colour, marker = looks
    style = {"fmt": marker, "color": colour, "markersize": 3.4, "elinewidth": 0.9, "label": label}
    panel.errorbar(*((places, at) if upright else (at, places)), **{"yerr" if upright else "xerr": ends}, **style)
