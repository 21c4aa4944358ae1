"""Drawings of what the search found: the network with the channels it kept, and the tutors it chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.pages.canvas import ACCENT, BLUE, FAINT, Picture, draw
from rnas.pages.cells import blocks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUIET, _EDGE, _ROOM = "#6b7177", "#a9bfd2", "#dfe9f2"
_STAGE_COLOURS = (BLUE, "#00558a")
_TYPE_COLOURS = {"accurate": BLUE, "normal": BLUE, "reduce": "#8a9199", "robust": ACCENT}
_GAP, _END = 0.7, 2.4  # in widths of a bar: between stages, and for the words at either end


def maximum(block: Mapping[str, Any]) -> int:
    """The widest a block could have been."""
    return max([block["width"], *block.get("options", [])])


def draw_network(architecture: Mapping[str, Any]) -> Picture:
    """Blocks from image to classes: outlined the channels a block could have, filled those it kept.

    Cells have the colour of their type, and the types below them.

    Args:
        architecture: the object of architecture.json; it must state `blocks`, or `placement` and `channels`.
    """
    built = blocks(architecture)
    stages = [list(members) for _, members in groupby(built, key=lambda block: block.get("stage"))]
    tallest = max(maximum(block) for block in built)
    total = len(built) + _GAP * (len(stages) - 1) + 2 * _END
    shape = "\u00d7".join(map(str, architecture.get("image_shape", [])))

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, total), ylim=(-0.62 * tallest, 0.84 * tallest))
        axes.plot([0.5 * _END, total - 0.5 * _END], [0, 0], color=FAINT, linewidth=1, zorder=0)
        left = _END
        for number, members in enumerate(stages):
            axes.annotate(
                _stage_words(number, members),
                (left + len(members) / 2, 1),
                (0, -6),
                va="top",
                ha="center",
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=7.5,
                color=_QUIET,
            )
            for kind, run in groupby(members, key=lambda block: block.get("type")):
                alike = list(run)
                for place, block in enumerate(alike):
                    _bar(axes, block, left + place, _TYPE_COLOURS.get(kind, _STAGE_COLOURS[number % 2]))
                if kind:
                    words = kind if len(alike) == 1 else f"{len(alike)} {kind}"
                    _under(axes, words, left + len(alike) / 2, alike[0], fontsize=7)
                left += len(alike)
            left += _GAP
        ends = (
            (0.5 * _END, f"image\n{shape}"),
            (total - 0.5 * _END, f"{architecture.get('num_classes', '')}\nclasses"),
        )
        for x, words in ends:
            box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": FAINT, "linewidth": 0.8}
            axes.text(x, 0, words, ha="center", va="center", fontsize=7.5, bbox=box)

    said = ", ".join(
        f"{block['type']} {block['width']}" if "type" in block else f"{block['width']} of {maximum(block)}"
        for block in built
    )
    alt = f"Channels of each block, of the most it could have where that was searched: {said}."
    return draw("architecture", alt, (max(560, 26 * total), 310), paint)


def _stage_words(number: int, members: Sequence[Mapping[str, Any]]) -> str:
    words = [f"stage {members[0].get('stage', number + 1)}"]
    if "resolution" in members[-1]:
        words.append(f"{members[-1]['resolution']}\u00d7{members[-1]['resolution']}")
    if "stride" in members[0]:
        words.append(f"stride {members[0]['stride']}")
    return "\n".join(words)


def _bar(axes: Axes, block: Mapping[str, Any], left: float, colour: str) -> None:
    from matplotlib.patches import Rectangle

    most, kept = maximum(block), block["width"]
    start, width, middle = left + 0.12, 0.76, left + 0.5
    axes.add_patch(Rectangle((start, -most / 2), width, most, facecolor=_ROOM, edgecolor=_EDGE, linewidth=0.8))
    axes.add_patch(Rectangle((start, -kept / 2), width, kept, facecolor=colour, edgecolor="none"))
    inner = [option for option in block.get("options", []) if option not in (most, kept)]
    axes.hlines(
        [side * option / 2 for option in inner for side in (-1, 1)],
        start,
        start + width,
        linewidth=0.5,
        colors=["white" if option < kept else _EDGE for option in inner for _ in (-1, 1)],
    )
    above = {"ha": "center", "va": "bottom", "textcoords": "offset points"}
    axes.annotate(str(kept), (middle, most / 2), (0, 2), fontsize=8, fontweight="bold", **above)
    if block.get("options"):
        _under(axes, f"of {most}", middle, block, fontsize=6.5)


def _under(axes: Axes, words: str, x: float, block: Mapping[str, Any], fontsize: float) -> None:
    below = {"ha": "center", "va": "top", "textcoords": "offset points", "color": _QUIET}
    axes.annotate(words, (x, -maximum(block) / 2), (0, -3), fontsize=fontsize, **below)


def draw_tutors(architecture: Mapping[str, Any]) -> Picture:
    """Student layers by teacher layers: the probability of every tutor, the chosen marked and counted.

    Args:
        architecture: the object of architecture.json, with `tutors`; where it holds no `tutor_probabilities`
            only the choice is drawn.
    """
    student, teacher = architecture["student_taps"], architecture["teacher_taps"]
    chosen = np.array([teacher.index(tutor) for tutor in architecture["tutors"]])
    probabilities = np.zeros((len(student), len(teacher)))
    if architecture.get("tutor_probabilities"):
        probabilities[:] = architecture["tutor_probabilities"]
    # Cells never smaller than a label is high, so that every axis label stays legible at any size.
    cell_x = float(np.clip(480 / len(teacher), 15, 34))
    cell_y = float(np.clip(420 / len(student), 13.5, 28))
    across, down = cell_x * len(teacher), cell_y * len(student)
    left, below = (16 + 5.6 * max(map(len, taps)) for taps in (student, teacher))
    above, right = 62, 74
    width, height = left + across + right, above + down + below + 18

    def paint(figure: Figure) -> None:
        def place(x: float, y: float, w: float, h: float) -> Axes:
            return figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))

        axes = place(left, above, across, down)
        image = axes.imshow(probabilities, cmap="Blues", vmin=0, vmax=max(probabilities.max(), 1e-12), aspect="auto")
        axes.set_xticks(range(len(teacher)), teacher, rotation=90, fontsize=7)
        axes.set_yticks(range(len(student)), student, fontsize=7)
        axes.set_xticks(np.arange(len(teacher) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(student) + 1) - 0.5, minor=True)
        axes.grid(False)
        axes.grid(which="minor", color="#e7e9ec", linewidth=0.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.scatter(
            chosen,
            range(len(student)),
            s=min(0.36 * min(cell_x, cell_y), 7) ** 2,
            color=ACCENT,
            edgecolors="white",
            linewidths=0.9,
            zorder=3,
        )
        axes.set_xlabel("teacher layer, input to output", fontsize=8)

        counts = np.bincount(chosen, minlength=len(teacher))
        bars = place(left, 24, across, above - 30)
        bars.bar(range(len(teacher)), counts, width=0.72, color=ACCENT)
        bars.set(xlim=(-0.5, len(teacher) - 0.5), ylim=(0, counts.max() * 1.45))
        bars.set_axis_off()
        for at, count in enumerate(counts):
            if count:
                bars.annotate(str(count), (at, count), (0, 1), textcoords="offset points", ha="center", fontsize=6.5)
        figure.text(left / width, 1 - 13 / height, "student layers per tutor", fontsize=8, va="center")

        if probabilities.any():
            scale = place(left + across + 14, above, 10, min(down, 150))
            figure.colorbar(image, cax=scale).outline.set_visible(False)
            scale.tick_params(labelsize=7, length=2)
            scale.set_title("p", fontsize=8, fontweight="normal")

    pairs = ", ".join(f"{layer} from {tutor}" for layer, tutor in zip(student, architecture["tutors"], strict=True))
    return draw("tutors", f"Tutor of every student layer: {pairs}.", (width, height), paint)
