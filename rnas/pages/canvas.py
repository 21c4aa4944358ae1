"""Pictures drawn by matplotlib without a screen, a global state or a clock: the same data give the same bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_PIXEL = 2  # PNG pixels per CSS pixel, sharp on dense screens
COLUMN = 860  # CSS pixels of the page's column
INK, FAINT, ACCENT = "#22262b", "#9aa0a6", "#d55e00"
BLUE = "#0072b2"
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
    "svg.hashsalt": "rnas",
}


@dataclass(frozen=True)
class Picture:
    """A drawing as it stands in the page and in files beside it.

    Attributes:
        name: of its files, without suffix.
        png: pixels, two for each CSS pixel.
        alt: what it shows, in words.
        width, height: CSS pixels.
        svg: the same as vectors; None of what is made of pixels alone.
        labels: what its legends print.
        wide: whether it keeps its size and scrolls where the page is too narrow: else its labels could not be read.
    """

    name: str
    png: bytes
    alt: str
    width: int
    height: int
    svg: bytes | None = None
    labels: tuple[str, ...] = ()
    wide: bool = False

    @property
    def source(self) -> str:
        """The smaller of its two forms as an address that holds the data itself."""
        if self.svg is not None and len(self.svg) < len(self.png):
            return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def draw(
    name: str, alt: str, size: tuple[float, float], paint: Callable[[Figure], None], wide: bool = False
) -> Picture:
    """A picture of `size` CSS pixels (96 to the inch) on white, filled by `paint`; see `Picture` for the rest."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # From the library's own defaults, so that a matplotlibrc on the machine changes nothing.
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(size[0] / 96, size[1] / 96), dpi=96 * DOTS_PER_PIXEL, facecolor="white")
        FigureCanvasAgg(figure)
        paint(figure)
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png")
        # Without a date, so that the same data give the same bytes.
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    labels = dict.fromkeys(text.get_text() for legend in legends if legend for text in legend.get_texts())
    width, height = map(round, size)
    return Picture(name, png.getvalue(), alt, width, height, svg.getvalue(), tuple(labels), wide or width > COLUMN)
