"""Plots of a kernel study: how far each score agrees with each column of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnas.artifacts.kernel_results import ScoreCorrelation
from rnas.pages.canvas import ACCENT, BLUE, COLUMN, FAINT, INK, Picture, draw

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
_LOOKS = (
    (INK, "s"),
    (BLUE, "o"),
    (ACCENT, "D"),
    ("#009e73", "^"),
    ("#a84a8c", "v"),
    ("#8a6d00", "P"),
    ("#6b7177", "X"),
)
_ROW, _PANELS = 26, 3  # CSS pixels; panels beside one another
_COEFFICIENT = "Spearman\u2019s \u03c1, with its 95 % interval"


def kernel_label(name: str) -> str:
    """'robust@8/255' → 'robust (8/255)'."""
    family, _, radius = name.replace("_", " ").partition("@")
    return f"{family} ({radius})" if radius else family


def plot_correlations(rows: Sequence[ScoreCorrelation], kernels: Sequence[str], columns: Sequence[str]) -> Picture:
    """Spearman's coefficient of every score with its interval, one panel a column of the table.

    Args:
      rows: of every score with every column.
      kernels: those that are shown, seven at most.
      columns: of the table, one panel each.
    """
    found = {(row.score, row.column): row for row in rows if row.spearman is not None}
    names = list(LABELS)
    lines = -(-len(columns) // _PANELS)
    height = 90 + lines * (_ROW * len(names) + 60)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(lines, min(len(columns), _PANELS), sharex=True, sharey=True, squeeze=False).ravel()
        margins = {"bottom": 50 / height, "top": 1 - 60 / height, "hspace": 60 / (_ROW * len(names))}
        figure.subplots_adjust(left=0.145, right=0.985, wspace=0.1, **margins)
        series = [(kernel_label(kernel), f"{kernel}/", looks) for kernel, looks in zip(kernels, _LOOKS, strict=False)]
        for panel, column in zip(panels, columns, strict=False):
            panel.axvline(0, color=FAINT, linewidth=0.8)
            for place, (label, prefix, looks) in enumerate(series):
                offset = (place - (len(series) - 1) / 2) * 0.8 / len(series)
                points = [(i + offset, found.get((f"{prefix}{name}", column))) for i, name in enumerate(names)]
                _coefficients(panel, points, looks, label)
            points = [(i, found.get((name, column))) for i, name in enumerate(names)]
            _coefficients(panel, points, (FAINT, "o"), "without a kernel")
            panel.set_title(column)
            panel.set(yticks=range(len(names)), yticklabels=LABELS.values(), xlim=(-1.08, 1.08))
            panel.set_ylim(len(names) - 0.5, -0.5)
        for panel in panels[len(columns) :]:
            panel.set_visible(False)
        figure.supxlabel(_COEFFICIENT, fontsize=8.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.12, 1.0), ncols=6, columnspacing=1.4)

    best = max(found.values(), key=lambda row: abs(row.spearman), default=None)
    largest = f"; the largest is {best.spearman:.2f}, of {best.score} with {best.column}" if best else ""
    words = f"Rank correlations of training-free scores with {', '.join(columns)}{largest}."
    return draw("scores", words, (COLUMN, height), paint)


def plot_strength(rows: Sequence[ScoreCorrelation], epsilons: Sequence[str], column: str) -> Picture:
    """Spearman's coefficient of kernel scores against the radius of the attack, with its interval; a panel a score.

    At radius 0 every kernel is the clean one.

    Args:
      rows: of every score with every column.
      epsilons: radii as written, smallest first.
      column: of the table.
    """
    found = {row.score: row for row in rows if row.spearman is not None and row.column == column}
    scores = [name for name in LABELS if f"clean/{name}" in found]
    families = dict.fromkeys(name.partition("@")[0] for name in found if "@" in name)
    places = range(len(epsilons) + 1)
    lines = -(-(len(scores) + 1) // _PANELS)
    height = 64 + 186 * lines

    def paint(figure: Figure) -> None:
        panels = figure.subplots(lines, _PANELS, sharex=True, sharey=True, squeeze=False).ravel()
        margins = {"bottom": 52 / height, "top": 1 - 24 / height}
        figure.subplots_adjust(left=0.07, right=0.985, wspace=0.08, hspace=0.24, **margins)
        for panel, name in zip(panels, scores, strict=False):
            panel.axhline(0, color=FAINT, linewidth=0.8)
            if "params" in found:
                dots = {"color": INK, "linewidth": 1, "linestyle": (0, (1, 2)), "label": "parameters alone"}
                panel.axhline(found["params"].spearman, **dots)
            clean = found[f"clean/{name}"]
            for number, (family, looks) in enumerate(zip(families, _LOOKS[1:], strict=False)):
                shift = 0.05 * (number - (len(families) - 1) / 2)
                attacked = [found.get(f"{family}@{epsilon}/{name}") for epsilon in epsilons]
                points = [(place + shift, row) for place, row in enumerate(attacked, start=1) if row]
                heights = [clean.spearman, *(row.spearman for _, row in points)]
                panel.plot([0, *(place for place, _ in points)], heights, color=looks[0], linewidth=0.9)
                _coefficients(panel, points, looks, family.replace("_", " "), upright=True)
            _coefficients(panel, [(0, clean)], _LOOKS[0], "clean", upright=True)
            panel.set_title(LABELS[name])
            panel.set(xticks=places, xticklabels=["0", *epsilons], ylim=(-1.05, 1.05), xlim=(-0.25, places[-1] + 0.25))
        for panel in panels[len(scores) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        panels[len(scores)].legend(handles, labels, loc="upper left", ncols=2)
        figure.supxlabel("Radius \u03b5 of the attack on the images of the kernel", fontsize=8.5)
        figure.supylabel(_COEFFICIENT, fontsize=8.5)

    clean = ", ".join(f"{LABELS[name]} {found[f'clean/{name}'].spearman:.2f}" for name in scores)
    words = f"Rank correlations of kernel scores with {column} by the attack's radius; of the clean kernel: {clean}."
    return draw(f"strength_{column.replace('/', '_')}", words, (COLUMN, height), paint)


def _coefficients(
    panel: Axes,
    points: Sequence[tuple[float, ScoreCorrelation | None]],
    looks: tuple[str, str],
    label: str,
    upright: bool = False,
) -> None:
    """Coefficients with their intervals; a point without a coefficient is left out."""
    points = [(place, row) for place, row in points if row]
    if not points:
        return
    places = [place for place, _ in points]
    at = [row.spearman for _, row in points]
    ends = [
        [max(0.0, row.spearman - row.low) for _, row in points],
        [max(0.0, row.high - row.spearman) for _, row in points],
    ]
    colour, marker = looks
    style = {"fmt": marker, "color": colour, "markersize": 3.4, "elinewidth": 0.9, "label": label}
    if upright:
        panel.errorbar(places, at, yerr=ends, **style)
    else:
        panel.errorbar(at, places, xerr=ends, **style)
