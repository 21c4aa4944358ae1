"""Plots of a table: clean against robust accuracy, agreement of columns, and what searches have reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.pages.canvas import ACCENT, BLUE, COLUMN, FAINT, INK, Picture, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ACCENT, "#009e73", "#a84a8c")
_NAMED = 40  # cells; so many can each have its code beside it
_NEAR = 0.02  # share of the cells, the best by either column, that the second panel is drawn around


def plot_search(searches: Sequence[Mapping[str, Any]]) -> Picture:
    """Median, the middle half and the middle four fifths of the repeats, against the number of queries.

    Args:
      searches: answers of `rnas.tabular.queries.search`, of one set of objectives.
    """
    curves = {answer["algorithm"]: answer["curve"] for answer in searches}
    if "optimum" in searches[0]:
        label, best = searches[0]["objectives"][0], searches[0]["optimum"]["value"]
    else:
        label, best = "Share of the hypervolume of the table's front", 1.0

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.975, bottom=0.13, top=0.85)
        axes.axhline(best, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), label="best of the table")
        expected = next((curve for curve in curves.values() if "random_search" in curve), None)
        if expected is not None:
            dashes = {"color": INK, "linewidth": 1.1, "linestyle": (0, (4, 2)), "label": "random, exact mean"}
            axes.plot(expected["queries"], expected["random_search"], **dashes)
        for colour, (name, curve) in zip(_COLOURS, curves.items(), strict=False):
            low, quarter, median, three_quarters, high = curve["quantiles"].values()
            for bounds in ((low, high), (quarter, three_quarters)):
                axes.fill_between(curve["queries"], *bounds, color=colour, alpha=0.14, linewidth=0)
            axes.plot(curve["queries"], median, color=colour, label=f"{name.replace('_', ' ')}, median")
        axes.set(xlabel="Queries", ylabel=label, xlim=(1, max(curve["queries"][-1] for curve in curves.values())))
        lowest = [next(iter(curve["quantiles"].values())) for curve in curves.values()]
        start = min(np.interp(5, curve["queries"], low) for curve, low in zip(curves.values(), lowest, strict=True))
        if start != best:
            axes.set_ylim(start, best + 0.04 * (best - start))  # better is up, also for a cost
        figure.legend(loc="upper left", bbox_to_anchor=(0.085, 1.0), ncols=3, columnspacing=1.6, handlelength=2.4)

    reached = "; ".join(
        f"{name} has a median of {curve['quantiles']['0.5'][-1]:.4g} after {curve['queries'][-1]} queries"
        for name, curve in curves.items()
    )
    return draw("search", f"{label} by the number of queries: {reached}; the best is {best:.4g}.", (740, 400), paint)


def plot_front(
    points: np.ndarray, macs: np.ndarray, codes: Sequence[str], members: np.ndarray, columns: tuple[str, str]
) -> Picture:
    """Robust against clean accuracy, a dot a class; the Pareto front is marked, and its neighbourhood drawn larger.

    Args:
      points: accuracies [R, 2] in [0, 1], of the two columns.
      macs: multiply-accumulates [R] of the networks, their colour.
      codes: of the classes.
      members: rows of the front, in the order of the first column.
      columns: names of the two.
    """
    few = len(points) <= _NAMED

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 1 if few else 2, squeeze=False)[0]
        figure.subplots_adjust(left=0.075, right=0.9, bottom=0.13, top=0.93, wspace=0.2)
        for axes in panels:
            size = {"s": 34, "alpha": 1.0} if few else {"s": 7, "alpha": 0.55}
            # Thousands of dots are pixels in the SVG too.
            looks = {"cmap": "viridis", "linewidths": 0, "rasterized": not few, **size}
            dots = axes.scatter(*100 * points.T, c=macs / 1e6, **looks)
            looks = {"color": ACCENT, "linewidth": 1.1, "marker": "o", "markersize": 6, "markerfacecolor": "none"}
            axes.plot(*100 * points[members].T, **looks, label=f"Pareto front, {len(members)}")
            axes.set(xlabel=f"{columns[0]}, %", ylabel=f"{columns[1]}, %")
        panels[0].legend(loc="upper left")
        if few:
            _name(panels[0], points, codes)
            panels[0].margins(0.09)
        else:
            _approach(panels[1], points, members)
            _name(panels[1], points[members], [codes[row] for row in members])
            panels[1].set_title("around the front")
        bar = figure.colorbar(dots, cax=figure.add_axes((0.925, 0.13, 0.014, 0.8)))
        bar.solids.set_alpha(1)
        bar.outline.set_visible(False)
        bar.ax.set_title("MMACs", fontsize=8, fontweight="normal", loc="center")

    front = ", ".join(f"{codes[row]} ({points[row, 0]:.1%}, {points[row, 1]:.1%})" for row in members)
    alt = f"{columns[1]} against {columns[0]} of {len(points)} cells; on the Pareto front: {front}."
    return draw("front", alt, (COLUMN, 400), paint)


def _approach(axes: Axes, points: np.ndarray, members: np.ndarray) -> None:
    """Shows the front and the best few of the others."""
    near = np.quantile(points, 1 - _NEAR, axis=0)
    low, high = np.minimum(near, points[members].min(0)) * 100, points.max(0) * 100
    room = 0.08 * (high - low)
    axes.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))


def _name(axes: Axes, points: np.ndarray, names: Sequence[str]) -> None:
    """Writes names to the right of the points; to the left of those in the right half."""
    middle = sum(axes.get_xlim()) / 2
    for point, name in zip(100 * points, names, strict=True):
        side = {"xytext": (-6, 3), "ha": "right"} if point[0] > middle else {"xytext": (6, 3), "ha": "left"}
        axes.annotate(name, point, textcoords="offset points", fontsize=7, color=INK, **side)


def plot_agreement(answer: Mapping[str, Any]) -> Picture:
    """Rank correlations of all pairs of columns: Spearman's above the diagonal, Kendall's below.

    Args:
      answer: of `rnas.tabular.queries.correlate`.
    """
    names = answer["columns"]
    size = len(names)
    spearman, kendall = (np.array(answer[kind], float) for kind in ("spearman", "kendall"))
    shown = np.where(np.triu(np.ones((size, size), bool), 1), spearman, kendall)
    np.fill_diagonal(shown, np.nan)
    cell = float(np.clip(620 / size, 34, 62))
    left, below, above = 24 + 6.3 * max(map(len, names)), 24 + 5.2 * max(map(len, names)), 12
    width, height = left + cell * size + 70, above + cell * 0.72 * size + below

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((left / width, below / height, cell * size / width, 1 - (above + below) / height))
        least = np.floor(10 * np.nanmin(shown, initial=0.9)) / 10
        colours = {"cmap": "RdBu", "vmin": -1} if least < 0 else {"cmap": "Blues", "vmin": least}
        image = axes.imshow(shown, aspect="auto", vmax=1, **colours)
        axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=7.5)
        axes.set_yticks(range(size), names, fontsize=7.5)
        axes.grid(False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for place in range(1, size):
            ends = names[place - 1].partition("/")[0] != names[place].partition("/")[0]
            looks = {"color": "white", "linewidth": 2.6 if ends else 0.7}
            axes.axhline(place - 0.5, **looks)
            axes.axvline(place - 0.5, **looks)
        for i, j in zip(*np.nonzero(np.isfinite(shown)), strict=True):
            strong = abs(shown[i, j]) > 0.6 if least < 0 else shown[i, j] > 0.4 * least + 0.6
            words = f"{shown[i, j]:.3f}".replace("0.", ".", 1)
            axes.text(j, i, words, ha="center", va="center", fontsize=7, color="white" if strong else INK)
        scale = figure.add_axes((1 - 52 / width, below / height, 10 / width, 1 - (above + below) / height))
        figure.colorbar(image, cax=scale).outline.set_visible(False)
        scale.tick_params(labelsize=7, length=2)

    pairs = spearman[np.triu_indices(size, 1)]
    pairs = pairs[np.isfinite(pairs)]
    ends = f"; Spearman's from {pairs.min():.3f} to {pairs.max():.3f}" if len(pairs) else ""
    alt = f"Rank correlations of {', '.join(names)}{ends}."
    return draw("agreement", alt, (width, height), paint)
