"""Drawings of what a search found: cells as graphs, the network block by block, and the tutors it chose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from rnas.artifacts.architecture import Architecture
from rnas.pages.canvas import ACCENT, BLUE, FAINT, INK, Picture, draw
from rnas.pages.cells import Block, Edge, Graph, blocks, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUIET, _OUTLINE, _ROOM = "#6b7177", "#a9bfd2", "#dfe9f2"

# -- cells ---------------------------------------------------------------------------------------------------

# All in CSS pixels. Arcs of one span are equally high and their tops a step apart; of two spans, one is higher.
# So no two labels can meet.
_SPAN, _MARGIN = 636, 52  # from the first state to the output
_WIDTH = 2 * _MARGIN + _SPAN
_LOW, _RISE = 38, 31  # height of an arc to the next state, and what each further state adds
_BOX, _HALF = 46, 13  # width and half the height of a state
_SLOT = 8  # between the ends of arcs at one state
_BUS = 38  # from the states down to the line that collects the output
_TITLE, _ABOVE, _BELOW = 24, 16, 2 * _HALF + _BUS + 18  # room for the title, for the top label, under the arcs


def draw_cells(name: str, graphs: Sequence[Graph]) -> Picture:
    """Cells one below the other, each with its type above it where there are several; `name`: of the file.

    The states stand in a row. Every edge is an arc over them with its operation at the top.
    """
    title = _TITLE if len(graphs) > 1 else 0
    above = [title + _ABOVE + max(map(_rise, graph.edges)) for graph in graphs]
    height = sum(above) + len(graphs) * _BELOW

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, _WIDTH), ylim=(0, height))
        top = height
        for graph, room in zip(graphs, above, strict=True):
            if title:
                axes.text(8, top - 14, graph.title, fontsize=9, fontweight="bold", va="center")
            _paint_cell(axes, graph, top - room)
            top -= room + _BELOW

    alt = " ".join(f"{graph.title}: {', '.join(words(graph, edge) for edge in graph.edges)}." for graph in graphs)
    return draw(name, alt, (_WIDTH, height), paint)


def words(graph: Graph, edge: Edge) -> str:
    """An edge in words: sep 3×3 from 0 to 2."""
    return f"{look(edge.operation)[0]} from {graph.state(edge.source)} to {edge.node}"


def _rise(edge: Edge) -> float:
    return _LOW + (edge.node - edge.source - 1) * _RISE


def _across(graph: Graph, state: int) -> float:
    """After two inputs the output has a place of its own; after one the last node is the output."""
    steps = len(graph.states) if graph.inputs == 2 else graph.states[-1]
    return _MARGIN + state * _SPAN / steps


def _paint_cell(axes: Axes, graph: Graph, floor: float) -> None:
    """Paints a cell whose arcs stand on `floor`, the upper side of its states."""
    middle = floor - _HALF
    for state in graph.states:
        given = state < graph.inputs
        name = graph.formula(state)
        _box(axes, _across(graph, state), middle, name, "white" if given else "#e3edf6", bold=not given)
    for edge, start, end in _ends(graph):
        _arc(axes, edge, start, end, floor)
    if graph.inputs == 1:
        return
    bus, output = middle - _HALF - _BUS + 13, _across(graph, len(graph.states))
    quiet = {"color": FAINT, "linewidth": 1.1, "zorder": 1}
    axes.vlines([_across(graph, node) for node in graph.nodes], bus, middle - _HALF, **quiet)
    axes.annotate(
        "",
        (output - _BOX / 2 - 4, bus),
        (_across(graph, graph.nodes[0]), bus),
        arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
    )
    _box(axes, output, bus, "output", "white")


def _box(axes: Axes, x: float, y: float, text: str, colour: str, bold: bool = False) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner, size = (x - _BOX / 2 + 4, y - _HALF + 4), (_BOX - 8, 2 * _HALF - 8)
    looks = {"facecolor": colour, "edgecolor": _QUIET, "linewidth": 0.9, "zorder": 3}
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=4", **looks))
    axes.text(x, y, text, ha="center", va="center", fontsize=8.5, zorder=4, fontweight="bold" if bold else "normal")


def _ends(graph: Graph) -> list[tuple[Edge, float, float]]:
    """Where each arc leaves and arrives: side by side on top of a state, ordered so that nested arcs do not cross."""
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    edges = graph.edges
    for state in graph.states:
        # From left to right: what arrives, the nearest source first; then what leaves, the farthest node first.
        arriving = sorted((at for at, edge in enumerate(edges) if edge.node == state), key=lambda at: -edges[at].source)
        leaving = sorted((at for at, edge in enumerate(edges) if edge.source == state), key=lambda at: -edges[at].node)
        slots = len(arriving) + len(leaving)
        gap = min(_SLOT, (_BOX - 8) / max(1, slots - 1))
        for slot, at in enumerate((*arriving, *leaving)):
            place = ends if slot < len(arriving) else starts
            place[at] = _across(graph, state) + (slot - (slots - 1) / 2) * gap
    return [(edge, starts[at], ends[at]) for at, edge in enumerate(edges)]


def _arc(axes: Axes, edge: Edge, start: float, end: float, floor: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    name, colour, dashes = look(edge.operation)
    height = _rise(edge)
    lean = 0.07 * (end - start)
    # The top of a cubic whose inner points are equally high is at three quarters of their height.
    inner = floor + height / 0.75
    path = Path(
        [(start, floor), (start + lean, inner), (end - lean, inner), (end, floor + 1)],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
    looks = {"color": colour, "linewidth": 1.5, "zorder": 2}
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=8, linestyle=dashes, **looks))
    axes.text(
        (start + end) / 2,
        floor + height,
        name,
        ha="center",
        va="center",
        fontsize=8,
        color=INK if name == "skip" else colour,
        zorder=5,
        bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none"},
    )


# -- the network ---------------------------------------------------------------------------------------------

_STAGE_COLOURS = (BLUE, "#00558a")
_KIND_COLOURS = {"reduce": "#8a9199", "robust": ACCENT}  # of cells; the others are blue
_GAP, _END = 0.7, 2.4  # in widths of a bar: between stages, and for the words at either end


def draw_network(architecture: Architecture) -> Picture:
    """Blocks from image to classes: outlined the channels a block could have, filled those it kept.

    Cells have the colour of their type, and the types below them.
    """
    built = blocks(architecture)
    stages = [list(members) for _, members in groupby(built, key=lambda block: block.stage)]
    tallest = max(block.most for block in built)
    total = len(built) + _GAP * (len(stages) - 1) + 2 * _END
    shape = "\u00d7".join(map(str, architecture.image_shape))

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, total), ylim=(-0.62 * tallest, 0.84 * tallest))
        axes.plot([0.5 * _END, total - 0.5 * _END], [0, 0], color=FAINT, linewidth=1, zorder=0)
        left = _END
        for number, members in enumerate(stages):
            first, last = members[0], members[-1]
            axes.annotate(
                f"stage {first.stage}\n{last.resolution}\u00d7{last.resolution}\nstride {first.stride}",
                (left + len(members) / 2, 1),
                (0, -6),
                va="top",
                ha="center",
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=7.5,
                color=_QUIET,
            )
            for kind, run in groupby(members, key=lambda block: block.kind):
                alike = list(run)
                colour = _KIND_COLOURS.get(kind, BLUE) if kind else _STAGE_COLOURS[number % 2]
                for place, block in enumerate(alike):
                    _bar(axes, block, left + place, colour)
                if kind:
                    text = kind if len(alike) == 1 else f"{len(alike)} {kind}"
                    _under(axes, text, left + len(alike) / 2, alike[0], fontsize=7)
                left += len(alike)
            left += _GAP
        ends = ((0.5 * _END, f"image\n{shape}"), (total - 0.5 * _END, f"{architecture.num_classes}\nclasses"))
        for x, text in ends:
            box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": FAINT, "linewidth": 0.8}
            axes.text(x, 0, text, ha="center", va="center", fontsize=7.5, bbox=box)

    of = ", ".join(f"{block.kind} {block.width}" if block.kind else f"{block.width} of {block.most}" for block in built)
    alt = f"Channels of each block, of the most it could have where that was searched: {of}."
    return draw("architecture", alt, (max(560, 26 * total), 310), paint)


def _bar(axes: Axes, block: Block, left: float, colour: str) -> None:
    from matplotlib.patches import Rectangle

    most, kept = block.most, block.width
    start, width, middle = left + 0.12, 0.76, left + 0.5
    axes.add_patch(Rectangle((start, -most / 2), width, most, facecolor=_ROOM, edgecolor=_OUTLINE, linewidth=0.8))
    axes.add_patch(Rectangle((start, -kept / 2), width, kept, facecolor=colour, edgecolor="none"))
    inner = [option for option in block.options if option not in (most, kept)]
    axes.hlines(
        [side * option / 2 for option in inner for side in (-1, 1)],
        start,
        start + width,
        linewidth=0.5,
        colors=["white" if option < kept else _OUTLINE for option in inner for _ in (-1, 1)],
    )
    above = {"ha": "center", "va": "bottom", "textcoords": "offset points"}
    axes.annotate(str(kept), (middle, most / 2), (0, 2), fontsize=8, fontweight="bold", **above)
    if block.options:
        _under(axes, f"of {most}", middle, block, fontsize=6.5)


def _under(axes: Axes, text: str, x: float, block: Block, fontsize: float) -> None:
    below = {"ha": "center", "va": "top", "textcoords": "offset points", "color": _QUIET}
    axes.annotate(text, (x, -block.most / 2), (0, -3), fontsize=fontsize, **below)


# -- tutors --------------------------------------------------------------------------------------------------


def draw_tutors(architecture: Architecture) -> Picture:
    """Student layers by teacher layers: the probability of every tutor if known, the chosen ones marked and counted.

    Args:
        architecture: with a tutor for every tap.
    """
    assignment = architecture.tutor_assignment
    student, teacher = architecture.taps, assignment.teacher_taps
    chosen = np.array([teacher.index(tutor) for tutor in assignment.tutors])
    probabilities = np.zeros((len(student), len(teacher)))
    if len(assignment.probabilities):
        probabilities[:] = assignment.probabilities
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
        size = min(0.36 * min(cell_x, cell_y), 7) ** 2
        looks = {"color": ACCENT, "edgecolors": "white", "linewidths": 0.9, "zorder": 3}
        axes.scatter(chosen, range(len(student)), s=size, **looks)
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

    pairs = ", ".join(f"{layer} from {tutor}" for layer, tutor in zip(student, assignment.tutors, strict=True))
    # Never shrunk: its labels are the smallest of all.
    return draw("tutors", f"Tutor of every student layer: {pairs}.", (width, height), paint, wide=True)
