"""How a search came to its tutors and widths: maps of the tutors at several epochs, and how undecided it still was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.artifacts.architecture import Architecture
from rnas.artifacts.search_history import SearchHistory
from rnas.pages.canvas import ACCENT, BLUE, Picture, draw, heatmap, scale
from rnas.pages.curves import uncertainty
from rnas.pages.site import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FRAMES, _PANELS = 6, 3  # epochs of the maps; maps beside one another
_LABEL = 9.5  # CSS pixels that a layer needs for its name


def decisions(
    histories: Mapping[str, SearchHistory | None], found: Mapping[str, Architecture | None]
) -> dict[str, Any] | None:
    """What the section shows of the search of one run or of several, by their names; None before a first epoch.

    Args:
        found: the architectures of these searches; layers have their names from them.
    """
    known = {name: history for name, history in histories.items() if history and len(history.epochs) > 1}
    if not known:
        return None
    name, first = next(iter(known.items()))
    maps = None if first.tutors is None else _plot_maps(first, found[name])
    return {"of": name, "maps": maps, "undecided": _plot_undecided(known)}


def _plot_maps(history: SearchHistory, architecture: Architecture | None) -> Picture:
    """Probability of every teacher layer as tutor of every student layer, at some epochs from the first to the last."""
    frames = np.unique(np.linspace(0, len(history.epochs) - 1, _FRAMES).round().astype(int))
    epochs, shown = history.epochs[frames].tolist(), history.tutors[frames]
    _, student, teacher = shown.shape
    down, across = float(np.clip(12 * student, 110, 320)), float(np.clip(13 * teacher, 150, 230))
    rows = -(-len(frames) // _PANELS)
    taps = (architecture.taps, architecture.tutor_assignment.teacher_taps) if architecture else ((), ())
    names = [
        named if len(named) == count and side >= _LABEL * count else [""] * count
        for named, count, side in zip(taps, (student, teacher), (down, across), strict=True)
    ]
    left, below = (20 + 5.4 * max(map(len, of)) for of in names)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(rows, min(len(frames), _PANELS), sharex=True, sharey=True, squeeze=False)
        for panel, epoch, values in zip(grid.flat, epochs, shown, strict=False):
            image = heatmap(panel, values, *names, cmap="Blues", vmin=0, vmax=float(shown.max()))
            panel.tick_params(axis="x", rotation=90)
            panel.set_title(f"epoch {epoch}", fontsize=8)
        for panel in grid.flat[max(0, len(frames) - _PANELS) : len(frames)]:  # nothing below it
            panel.tick_params(labelbottom=True)
        for panel in grid.flat[len(frames) :]:
            panel.set_axis_off()
        scale(figure, image, grid, "p")
        figure.supxlabel("teacher layer, input to output", fontsize=8)
        figure.supylabel("student layer, input at the top", fontsize=8)

    size = (left + across * min(len(frames), _PANELS) + 90, 40 + rows * (down + 24) + below)
    # Never shrunk: names of layers are small as they are.
    return draw("tutor_history", say("tutor_history", epochs, shown), size, paint, wide=True)


def _plot_undecided(histories: Mapping[str, SearchHistory]) -> Picture:
    """Mean uncertainty over tutors and over widths against the epoch, a thin line a search."""
    looks: dict[str, dict[str, Any]] = {
        "tutors": {"color": BLUE},
        "widths": {"color": ACCENT, "linestyle": (0, (4, 1.5))},
    }
    curves = {
        what: lines
        for what, of in (("tutors", _of_tutors), ("widths", _of_widths))
        if (lines := [(history.epochs, values) for history in histories.values() if len(values := of(history))])
    }

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for what, lines in curves.items():
            for number, line in enumerate(lines):
                axes.plot(*line, linewidth=1.1, label=None if number else what, **looks[what])
        axes.set(ylim=(0, 1.05), xlabel="epoch", ylabel="undecided, 1 = uniform")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=True)
        figure.legend(ncols=2, loc="outside upper left")

    ends = {what: [(values[0], values[-1]) for _, values in lines] for what, lines in curves.items()}
    return draw("undecided", say("undecided", ends), (560, 250), paint)


def _of_tutors(history: SearchHistory) -> np.ndarray | Sequence[float]:
    return () if history.tutors is None else uncertainty(history.tutors)


def _of_widths(history: SearchHistory) -> np.ndarray | Sequence[float]:
    searched = [block for block in history.widths if block.shape[-1] > 1]
    return np.mean([uncertainty(block[:, None]) for block in searched], axis=0) if searched else ()
