"""Plot of simulated searches: what they have reached after so many queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rnas.report.canvas import ACCENT, BLUE, FAINT, INK, Picture, draw
from rnas.tabular.simulation import QUANTILES, Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ACCENT, "#009e73", "#a84a8c")


def plot_search(
    curves: Mapping[str, Curve],
    label: str,
    *,
    best: float,
    expected: tuple[np.ndarray, np.ndarray] | None = None,
) -> Picture:
    """Median, the middle half and the middle four fifths of the repeats of every curve.

    Args:
      curves: by name of the algorithm.
      label: what was reached, with its unit, for the vertical axis.
      best: the most that can be reached.
      expected: ([P] queries, [P] mean), the exact mean of random search.
    """
    low, quarter, median, three_quarters, high = range(len(QUANTILES))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.975, bottom=0.14, top=0.9)
        axes.axhline(best, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), label="best of the table")
        if expected is not None:
            axes.plot(*expected, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), label="random, exact mean")
        for colour, (name, curve) in zip(_COLOURS, curves.items(), strict=False):
            for lower, upper in ((low, high), (quarter, three_quarters)):
                bounds = curve.quantiles[[lower, upper]]
                axes.fill_between(curve.queries, *bounds, color=colour, alpha=0.14, linewidth=0)
            axes.plot(curve.queries, curve.quantiles[median], color=colour, label=f"{name}, median")
        axes.set(xlabel="Queries", ylabel=label, xlim=(1, max(curve.queries[-1] for curve in curves.values())))
        start = min(np.interp(5, curve.queries, curve.quantiles[low]) for curve in curves.values())
        if start != best:
            axes.set_ylim(start, best + 0.04 * (best - start))  # better is up, also for a cost
        figure.legend(loc="upper left", bbox_to_anchor=(0.085, 1.0), ncols=4, columnspacing=1.6, handlelength=2.4)

    said = "; ".join(
        f"{name} has a median of {curve.quantiles[median][-1]:.4g} after {curve.queries[-1]} queries"
        for name, curve in curves.items()
    )
    return draw("search", f"{label} by the number of queries: {said}; the best is {best:.4g}.", (740, 380), paint)
