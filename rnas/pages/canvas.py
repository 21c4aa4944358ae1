"""Figures without a screen, a global state or a clock: the same data give the same PNG."""

from __future__ import annotations

from collections.abc import Callable
import io
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_PIXEL = 2  # PNG pixels per CSS pixel, sharp on dense screens
INK, FAINT, ACCENT = "#22262b", "#9aa0a6", "#d55e00"
BLUE = "#0072b2"
KINDS = {  # of operations: colour, dashes
    "separable": (BLUE, "-"),
    "dilated": (ACCENT, "-"),
    "convolution": ("#00558a", "-"),
    "pointwise": ("#a84a8c", "-"),
    "pool": ("#007d5a", "-"),
    "skip": ("#6b7177", (0, (4, 2))),
    "none": (FAINT, (0, (1, 1.5))),
}

BOUNDARY = {"color": "#6b7177", "linewidth": 0.8, "linestyle": (0, (1, 2)), "zorder": 1}  # between two stages

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e7e9ec",
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


class Picture(NamedTuple):
    """A PNG with its file name (without suffix), what it shows in words, and its size in CSS pixels."""

    name: str
    png: bytes
    alt: str
    width: int
    height: int


def draw(name: str, alt: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> Picture:
    """A figure of `size` CSS pixels (96 to the inch), filled by `paint`, as a PNG on white."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # From the library's own defaults, so that a matplotlibrc on the machine changes nothing.
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(size[0] / 96, size[1] / 96), dpi=96 * DOTS_PER_PIXEL, facecolor="white")
        FigureCanvasAgg(figure)
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return Picture(name, buffer.getvalue(), alt, round(size[0]), round(size[1]))
