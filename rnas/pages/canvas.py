"""Pictures: drawn by matplotlib without a screen, a global state or a clock, and adversarial images as pixels.

The same data give the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnas.artifacts.evaluation import ExampleImages
from rnas.pages.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

COLUMN = 860  # CSS pixels of the page's column
INK, QUIET, FAINT, PALE = "#22262b", "#6b7177", "#9aa0a6", "#e7e9ec"
BLUE, NAVY, ACCENT, GREEN, PURPLE, OLIVE = "#0072b2", "#00558a", "#d55e00", "#009e73", "#a84a8c", "#8a6d00"
DOTS = (0, (1, 2))
BOUNDARY = {"color": QUIET, "linewidth": 0.8, "linestyle": DOTS, "zorder": 1}  # between two stages
_STYLE = Path(__file__).with_name("templates") / "figures.mplstyle"
_TYPES = {"svg": "svg+xml", "png": "png"}
_PANEL = 96  # CSS pixels a panel has at least, so that 8x8 digits can be seen
_SPACE = 6


@dataclass(frozen=True)
class Picture:
    """A drawing as it stands in the page and in a file beside it.

    Attributes:
        name: of its file, without suffix.
        data: the file.
        alt: what it shows, in words.
        width, height: CSS pixels.
        form: `svg`, or `png` of what is made of pixels.
        labels: what its legends print.
        wide: whether it keeps its size and scrolls where the page is too narrow: else its labels could not be read.
    """

    name: str
    data: bytes
    alt: str
    width: int
    height: int
    form: str = "svg"
    labels: tuple[str, ...] = ()
    wide: bool = False

    @property
    def files(self) -> dict[str, bytes]:
        """Its file by its name."""
        return {f"figures/{self.name}.{self.form}": self.data}

    @property
    def source(self) -> str:
        """The file as an address that holds the data itself."""
        return f"data:image/{_TYPES[self.form]};base64,{base64.b64encode(self.data).decode()}"


def draw(
    name: str,
    alt: str,
    size: tuple[float, float],
    paint: Callable[[Figure], None],
    wide: bool = False,
    form: str = "svg",
) -> Picture:
    """A picture of `size` CSS pixels (96 to the inch) on white, filled by `paint`; see `Picture` for the rest."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # From the library's own defaults, so that a matplotlibrc on the machine changes nothing.
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(size[0] / 96, size[1] / 96), dpi=192)  # pixels in it are sharp on dense screens
        paint(figure)
        data = io.BytesIO()
        # `savefig` would lay it out twice. Without a date, so that the same data give the same bytes.
        if form == "svg":
            FigureCanvasSVG(figure).print_svg(data, metadata={"Date": None, "Creator": None})
        else:
            FigureCanvasAgg(figure).print_png(data)
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    labels = dict.fromkeys(text.get_text() for legend in legends if legend for text in legend.get_texts())
    width, height = map(round, size)
    return Picture(name, data.getvalue(), alt, width, height, form, tuple(labels), wide or width > COLUMN)


def heatmap(axes: Axes, values: np.ndarray, down: Sequence[str], across: Sequence[str], **looks: Any) -> ScalarMappable:
    """Numbers [len(down), len(across)] as colours."""
    image = axes.imshow(values, aspect="auto", **looks)
    axes.set_xticks(range(len(across)), across)
    axes.set_yticks(range(len(down)), down)
    axes.set_xticks(np.arange(1, len(across)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(down)) - 0.5, minor=True)
    axes.grid(False)
    axes.grid(which="minor", color=PALE, linewidth=0.5)
    axes.tick_params(which="both", length=0, labelsize=7)
    axes.spines[:].set_visible(False)
    return image


def scale(figure: Figure, image: ScalarMappable, axes: Any, unit: str) -> None:
    """The scale of colours, beside one or several axes."""
    bar = figure.colorbar(image, ax=axes, aspect=24, pad=0.02)
    bar.solids.set_alpha(1)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.ax.set_title(unit, fontsize=8, fontweight="normal", loc="center")


class Example(NamedTuple):
    """A strip of three panels: clean image, adversarial image, and their magnified difference."""

    strip: Picture
    classes: str
    verdict: Cell


class Gallery(NamedTuple):
    """Examples, and the factor that their differences are magnified by."""

    examples: list[Example]
    factor: float


def gallery(
    images: ExampleImages, epsilon: float | None, names: Sequence[str], shown: int, name: str = "adversarial"
) -> Gallery | None:
    """The first images, in their order; None where there are none.

    Args:
        epsilon: a change of this size has full contrast in the difference; None: the largest change has.
        names: of the classes, or none.
        name: of the files, before a number.
    """
    largest = float(np.abs(images.adversarial - images.images).max(initial=0.0))
    factor = 0.5 / (epsilon or largest or 0.5)
    classes = np.stack([images.labels, images.clean_predictions, images.adversarial_predictions], axis=1).astype(int)
    examples = []
    pairs = zip(images.images[:shown], images.adversarial, classes.tolist(), strict=False)
    for i, (clean, adversarial, (label, before, after)) in enumerate(pairs):
        alt = f"Clean image, adversarial image and difference: label {label}, predicted {before}, then {after}."
        strip = _strip(f"{name}_{i}", alt, (clean, adversarial, 0.5 + factor * (adversarial - clean)))
        seen = (("label", label), ("clean", before), ("adversarial", after))
        words = " \u00b7 ".join(f"{view} {_class(k, names)}" for view, k in seen)
        verdict = Cell("correct", kind="passed") if after == label else Cell("fooled", kind="failed")
        wrong = Cell("wrong without attack", kind="skipped")
        examples.append(Example(strip, words, verdict if before == label else wrong))
    return Gallery(examples, factor) if examples else None


def _class(number: int, names: Sequence[str]) -> str:
    """The name of a class, or its number; -1 stands for a prediction of NaN."""
    if number < 0:
        return "no class (NaN)"
    return names[number] if number < len(names) else str(number)


def _strip(name: str, alt: str, panels: tuple[np.ndarray, ...]) -> Picture:
    from PIL import Image

    enlarge = max(1, -(-_PANEL // max(panels[0].shape[:2])))
    tiles = []
    for panel in panels:
        if panel.shape[-1] != 3:  # grey, or channels that are no colours
            panel = np.repeat(panel.mean(axis=-1, keepdims=True), 3, axis=-1)
        pixels = np.rint(np.clip(np.nan_to_num(panel), 0, 1) * 255).astype(np.uint8)
        opaque = np.insert(pixels, 3, 255, axis=-1).repeat(enlarge, axis=0).repeat(enlarge, axis=1)
        tiles.append(np.pad(opaque, ((0, 0), (0, _SPACE), (0, 0))))  # the space between panels is transparent
    sheet = np.concatenate(tiles, axis=1)[:, :-_SPACE]
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    height, width, _ = sheet.shape
    return Picture(name, buffer.getvalue(), alt, width, height, "png")
