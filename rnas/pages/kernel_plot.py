"""Plot of a study: how far each score agrees with each column of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnas.pages.canvas import ACCENT, BLUE, FAINT, INK, Picture, draw

if TYPE_CHECKING:
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


def plot_correlations(rows: Sequence[dict], kernels: Sequence[str], columns: Sequence[str]) -> Picture:
    """Spearman's coefficient of every score with its interval, one panel a column of the table.

    Args:
      rows: entries of `correlations`: score, column, spearman, low, high.
      kernels: those that are shown, seven at most.
      columns: of the table, one panel each.
    """
    found = {(row["score"], row["column"]): row for row in rows if row["spearman"] is not None}
    names = list(LABELS)
    lines = -(-len(columns) // _PANELS)
    height = 90 + lines * (_ROW * len(names) + 60)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(lines, min(len(columns), _PANELS), sharex=True, sharey=True, squeeze=False).ravel()
        figure.subplots_adjust(
            left=0.13,
            right=0.985,
            bottom=50 / height,
            top=1 - 60 / height,
            wspace=0.1,
            hspace=60 / (_ROW * len(names)),
        )
        for panel, column in zip(panels, columns, strict=False):
            panel.axvline(0, color=FAINT, linewidth=0.8)
            for place, (kernel, (colour, marker)) in enumerate(zip(kernels, _LOOKS, strict=False)):
                offset = (place - (len(kernels) - 1) / 2) * 0.8 / len(kernels)
                points = [(i, found.get((f"{kernel}/{name}", column))) for i, name in enumerate(names)]
                _points(panel, [(i + offset, row) for i, row in points if row], colour, marker, kernel)
            others = [(i, found.get((name, column))) for i, name in enumerate(names)]
            _points(panel, [(i, row) for i, row in others if row], FAINT, "o", "without a kernel")
            panel.set_title(column)
            panel.set(yticks=range(len(names)), yticklabels=LABELS.values(), xlim=(-1.08, 1.08))
            panel.set_ylim(len(names) - 0.5, -0.5)
        for panel in panels[len(columns) :]:
            panel.set_visible(False)
        figure.supxlabel("Spearman\u2019s \u03c1, with its 95 % interval", fontsize=8.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.12, 1.0), ncols=6, columnspacing=1.4)

    best = max(found.values(), key=lambda row: abs(row["spearman"]), default=None)
    said = f"; the largest is {best['spearman']:.2f}, of {best['score']} with {best['column']}" if best else ""
    return draw(
        "ntk", f"Rank correlations of training-free scores with {', '.join(columns)}{said}.", (980, height), paint
    )


def plot_strength(rows: Sequence[dict], epsilons: Sequence[str], column: str) -> Picture:
    """Spearman's coefficient of kernel scores against the radius of the attack, with its interval; a panel a score.

    At radius 0 every kernel is the clean one.

    Args:
      rows: as `plot_correlations` takes them.
      epsilons: radii as written, smallest first.
      column: of the table.
    """
    found = {row["score"]: row for row in rows if row["spearman"] is not None and row["column"] == column}
    scores = [name for name in LABELS if f"clean/{name}" in found]
    families = dict.fromkeys(name.partition("@")[0] for name in found if "@" in name)
    places = range(len(epsilons) + 1)
    lines = -(-(len(scores) + 1) // _PANELS)
    height = 64 + 186 * lines

    def paint(figure: Figure) -> None:
        panels = figure.subplots(lines, _PANELS, sharex=True, sharey=True, squeeze=False).ravel()
        figure.subplots_adjust(
            left=0.07, right=0.985, bottom=52 / height, top=1 - 24 / height, wspace=0.08, hspace=0.24
        )
        for panel, name in zip(panels, scores, strict=False):
            panel.axhline(0, color=FAINT, linewidth=0.8)
            if "params" in found:
                dashes = {"color": INK, "linewidth": 1, "linestyle": (0, (1, 2))}
                panel.axhline(found["params"]["spearman"], **dashes, label="parameters alone")
            for number, (family, (colour, marker)) in enumerate(zip(families, _LOOKS[1:], strict=False)):
                keys = [f"clean/{name}", *(f"{family}@{epsilon}/{name}" for epsilon in epsilons)]
                shift = 0.05 * (number - (len(families) - 1) / 2)
                points = [
                    (place + shift * (place > 0), found.get(key)) for place, key in zip(places, keys, strict=True)
                ]
                points = [(x, row) for x, row in points if row]
                panel.plot([x for x, _ in points], [row["spearman"] for _, row in points], color=colour, linewidth=0.9)
                _points(panel, points[1:], colour, marker, family.replace("_", " "), across=False)
            _points(panel, [(0, found[f"clean/{name}"])], *_LOOKS[0], "clean", across=False)
            panel.set_title(LABELS[name])
            panel.set(xticks=places, xticklabels=["0", *epsilons], ylim=(-1.05, 1.05), xlim=(-0.25, places[-1] + 0.25))
        for panel in panels[len(scores) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        panels[len(scores)].legend(handles, labels, loc="upper left", ncols=2)
        figure.supxlabel("Radius \u03b5 of the attack on the images of the kernel", fontsize=8.5)
        figure.supylabel("Spearman\u2019s \u03c1, with its 95 % interval", fontsize=8.5)

    said = ", ".join(f"{LABELS[name]} {found[f'clean/{name}']['spearman']:.2f}" for name in scores)
    words = (
        f"Rank correlations of kernel scores with {column} against the attack's radius; of the clean kernel: {said}."
    )
    return draw(f"strength_{column.replace('/', '_')}", words, (860, height), paint)


def _points(panel, points, colour, marker, label, across=True):
    """Coefficients with their intervals, `across` the panel or upright."""
    if not points:
        return
    at = [row["spearman"] for _, row in points]
    ends = [[max(0.0, value - row["low"]) for value, (_, row) in zip(at, points, strict=True)]]
    ends.append([max(0.0, row["high"] - value) for value, (_, row) in zip(at, points, strict=True)])
    looks = {"fmt": marker, "color": colour, "markersize": 3.4, "elinewidth": 0.9, "label": label}
    places = [place for place, _ in points]
    if across:
        panel.errorbar(at, places, xerr=ends, **looks)
    else:
        panel.errorbar(places, at, yerr=ends, **looks)
