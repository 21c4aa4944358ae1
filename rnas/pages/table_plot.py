"""Plots of a table: clean against robust accuracy, agreement of columns, and what searches have reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.pages.canvas import ACCENT, BLUE, COLUMN, DOTS, FAINT, GREEN, INK, PURPLE, Picture, draw, heatmap, scale
from rnas.pages.site import say
from rnas.tabular.table import is_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = 40  # cells; so many can each have its code beside it
_NEAR = 0.02  # share of the cells, the best by either column, that the second panel is drawn around


def plot_search(searches: Sequence[Mapping[str, Any]], form: str = "svg") -> Picture:
    """Median, the middle half and the middle four fifths of the repeats, against the number of queries; shares in %.

    `searches` are answers of `rnas.tabular.queries.search`, of one set of objectives.
    """
    curves = {answer["algorithm"]: answer["curve"] for answer in searches}
    label, best, times = "Share of the hypervolume of the table's front, %", 1.0, 100
    if "optimum" in searches[0]:
        label, best = searches[0]["objectives"][0], searches[0]["optimum"]["value"]
        label, times = (label, 1) if is_cost(label) else (f"{label}, %", 100)
    best *= times

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(best, color=FAINT, linewidth=0.8, linestyle=DOTS, label="best of the table")
        expected = next((curve for curve in curves.values() if "random_search" in curve), None)
        if expected is not None:
            dashes = {"color": INK, "linewidth": 1.1, "linestyle": (0, (4, 2)), "label": "random, exact mean"}
            axes.plot(expected["queries"], times * np.array(expected["random_search"]), **dashes)
        starts = []
        for colour, (name, curve) in zip((BLUE, ACCENT, GREEN, PURPLE), curves.items(), strict=False):
            low, quarter, median, three_quarters, high = times * np.array([*curve["quantiles"].values()])
            for bounds in ((low, high), (quarter, three_quarters)):
                axes.fill_between(curve["queries"], *bounds, color=colour, alpha=0.14, linewidth=0)
            axes.plot(curve["queries"], median, color=colour, label=f"{name.replace('_', ' ')}, median")
            starts.append(np.interp(5, curve["queries"], low))
        axes.set(xlabel="Queries", ylabel=label, xlim=(1, max(curve["queries"][-1] for curve in curves.values())))
        if min(starts) != best:
            axes.set_ylim(min(starts), best + 0.04 * (best - min(starts)))  # better is up, also for a cost
        figure.legend(loc="outside upper left", ncols=3)

    return draw("search", say("search", label, curves, best, times), (740, 400), paint, form=form)


def plot_front(
    points: np.ndarray, macs: np.ndarray, codes: Sequence[str], members: Sequence[int], columns: tuple[str, str]
) -> Picture:
    """Robust against clean accuracy, a dot a class; the Pareto front is marked, and its neighbourhood drawn larger.

    Args:
      points: accuracies [R, 2] in [0, 1], of the two columns.
      macs: multiply-accumulates [R] of the networks, their colour.
      members: rows of the front, in the order of the first column.
    """
    few, on_front = len(points) <= _NAMED, points[members]

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 1 if few else 2, squeeze=False)[0]
        # Thousands of dots are pixels in the SVG too.
        dot = {"s": 34} if few else {"s": 7, "alpha": 0.55, "rasterized": True}
        front = {"color": ACCENT, "linewidth": 1.1, "marker": "o", "markersize": 6, "markerfacecolor": "none"}
        for axes in panels:
            dots = axes.scatter(*100 * points.T, c=macs / 1e6, cmap="viridis", linewidths=0, **dot)
            axes.plot(*100 * on_front.T, **front, label=f"Pareto front, {len(members)}")
            axes.set(xlabel=f"{columns[0]}, %", ylabel=f"{columns[1]}, %")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left")
        if few:
            _name(panels[0], points, codes)
            panels[0].margins(0.09)
        else:  # the front and the best few of the others
            low = np.minimum(np.quantile(points, 1 - _NEAR, axis=0), on_front.min(0)) * 100
            high = points.max(0) * 100
            (left, bottom), (right, top) = low - 0.08 * (high - low), high + 0.08 * (high - low)
            panels[1].set(xlim=(left, right), ylim=(bottom, top), title="around the front")
            _name(panels[1], on_front, [codes[row] for row in members])
        scale(figure, dots, panels, "MMACs")

    return draw("front", say("front", columns, points, members, codes), (COLUMN, 400), paint)


def _name(axes: Axes, points: np.ndarray, names: Sequence[str]) -> None:
    """Writes names to the right of the points; to the left of those in the right half."""
    middle = sum(axes.get_xlim()) / 2
    for point, name in zip(100 * points, names, strict=True):
        side = {"xytext": (-6, 3), "ha": "right"} if point[0] > middle else {"xytext": (6, 3), "ha": "left"}
        axes.annotate(name, point, textcoords="offset points", fontsize=7, color=INK, **side)


def plot_agreement(answer: Mapping[str, Any]) -> Picture:
    """Rank correlations by `rnas.tabular.queries.correlate`: Spearman's above the diagonal, Kendall's below."""
    names = answer["columns"]
    size = len(names)
    spearman, kendall = (np.array(answer[kind], float) for kind in ("spearman", "kendall"))
    above = np.triu_indices(size, 1)
    shown = np.where(np.triu(np.ones((size, size), bool), 1), spearman, kendall)
    np.fill_diagonal(shown, np.nan)
    cell, longest = float(np.clip(620 / size, 34, 62)), max(map(len, names))
    least = np.floor(10 * np.nanmin(shown, initial=0.9)) / 10

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        colours = {"cmap": "RdBu", "vmin": -1} if least < 0 else {"cmap": "Blues", "vmin": least}
        scale(figure, heatmap(axes, shown, names, names, vmax=1, **colours), axes, "\u03c1, \u03c4")
        axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor")
        for place, (name, following) in enumerate(zip(names, names[1:], strict=False)):
            if name.partition("/")[0] != following.partition("/")[0]:  # another data set
                axes.axhline(place + 0.5, color="white", linewidth=2.6)
                axes.axvline(place + 0.5, color="white", linewidth=2.6)
        for i, j in zip(*np.nonzero(np.isfinite(shown)), strict=True):
            strong = abs(shown[i, j]) > 0.6 if least < 0 else shown[i, j] > 0.4 * least + 0.6
            words = f"{shown[i, j]:.3f}".replace("0.", ".", 1)
            axes.text(j, i, words, ha="center", va="center", fontsize=7, color="white" if strong else INK)

    pairs = spearman[above][np.isfinite(spearman[above])].tolist()
    width, height = 94 + 6.3 * longest + cell * size, 36 + 5.2 * longest + 0.72 * cell * size
    return draw("agreement", say("agreement", names, pairs), (width, height), paint)
