"""Drawings of what a search found: cells as graphs, the network block by block, and the tutors it chose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.artifacts.architecture import Architecture
from rnas.pages.canvas import ACCENT, BLUE, FAINT, INK, NAVY, QUIET, Picture, draw, heatmap, scale
from rnas.pages.cells import Edge, Graph, blocks, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        axes = _sheet(figure, (0, _WIDTH), (0, height))
        top = height
        for graph, room in zip(graphs, above, strict=True):
            if title:
                axes.text(8, top - 14, graph.title, fontsize=9, fontweight="bold", va="center")
            _paint_cell(axes, graph, top - room)
            top -= room + _BELOW

    each = [", ".join(f"{graph.words(edge)} to {edge.node}" for edge in graph.edges) for graph in graphs]
    alt = " ".join(f"{graph.title}: {edges}." for graph, edges in zip(graphs, each, strict=True))
    return draw(name, alt, (_WIDTH, height), paint)


def _sheet(figure: Figure, across: tuple[float, float], up: tuple[float, float]) -> Axes:
    """The whole figure to draw on, in units of its own."""
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=across, ylim=up)
    return axes


def _rise(edge: Edge) -> float:
    return _LOW + (edge.node - edge.source - 1) * _RISE


def _paint_cell(axes: Axes, graph: Graph, floor: float) -> None:
    """Paints a cell whose arcs stand on `floor`, the upper side of its states."""
    middle, last = floor - _HALF, len(graph.states)
    # After two inputs the output has a place of its own; after one the last node is the output.
    across = np.linspace(_MARGIN, _MARGIN + _SPAN, last + (graph.inputs == 2))
    for state in graph.states:
        given = state < graph.inputs
        looks = {"facecolor": "white" if given else "#e3edf6", "fontweight": "normal" if given else "bold"}
        _box(axes, across[state], middle, graph.formula(state), **looks)
    for edge, start, end in _ends(graph, across):
        _arc(axes, edge, start, end, floor)
    if graph.inputs == 2:
        bus, first = middle - _HALF - _BUS + 13, across[graph.nodes[0]]
        quiet = {"color": FAINT, "linewidth": 1.1}
        axes.vlines(across[list(graph.nodes)], bus, middle - _HALF, zorder=1, **quiet)
        arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **quiet}
        axes.annotate("", (across[last] - _BOX / 2 - 4, bus), (first, bus), arrowprops=arrow)
        _box(axes, across[last], bus, "output", "white")


def _box(axes: Axes, x: float, y: float, text: str, facecolor: str, **looks: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner, size = (x - _BOX / 2 + 4, y - _HALF + 4), (_BOX - 8, 2 * _HALF - 8)
    border = {"facecolor": facecolor, "edgecolor": QUIET, "linewidth": 0.9, "zorder": 3}
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=4", **border))
    axes.text(x, y, text, ha="center", va="center", zorder=4, **looks)


def _ends(graph: Graph, across: np.ndarray) -> list[tuple[Edge, float, float]]:
    """Where each arc leaves and arrives: side by side on top of a state, ordered so that nested arcs do not cross."""
    starts: dict[Edge, float] = {}
    ends: dict[Edge, float] = {}
    for state in graph.states:
        # From left to right: what arrives, the nearest source first; then what leaves, the farthest node first.
        arriving = sorted((edge for edge in graph.edges if edge.node == state), key=lambda edge: -edge.source)
        leaving = sorted((edge for edge in graph.edges if edge.source == state), key=lambda edge: -edge.node)
        slots = len(arriving) + len(leaving)
        gap = min(_SLOT, (_BOX - 8) / max(1, slots - 1))
        places = across[state] + gap * (np.arange(slots) - (slots - 1) / 2)
        ends |= zip(arriving, places, strict=False)
        starts |= zip(leaving, places[len(arriving) :], strict=True)
    return [(edge, starts[edge], ends[edge]) for edge in graph.edges]


def _arc(axes: Axes, edge: Edge, start: float, end: float, floor: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    name, colour, dashes = look(edge.operation)
    height, lean = _rise(edge), 0.07 * (end - start)
    inner = floor + height / 0.75  # the top of a cubic is at three quarters of its inner points
    points = [(start, floor), (start + lean, inner), (end - lean, inner), (end, floor + 1)]
    path = Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    looks = {"color": colour, "linestyle": dashes, "linewidth": 1.5, "mutation_scale": 8, "zorder": 2}
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", **looks))
    paper = {"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none"}
    words = {"fontsize": 8, "color": INK if name == "skip" else colour, "zorder": 5, "bbox": paper}
    axes.text((start + end) / 2, floor + height, name, ha="center", va="center", **words)


# -- the network ---------------------------------------------------------------------------------------------

_STAGE_COLOURS = (BLUE, NAVY)
_KIND_COLOURS = {"reduce": "#8a9199", "robust": ACCENT}  # of cells; the others are blue
_OUTLINE, _ROOM = "#a9bfd2", "#dfe9f2"
_GAP, _END = 0.7, 2.4  # in widths of a bar: between stages, and for the words at either end


def draw_network(architecture: Architecture) -> Picture:
    """Blocks from image to classes: outlined the channels a block could have, filled those it kept.

    Cells have the colour of their type, and the types below them.
    """
    built = blocks(architecture)
    stage = np.array([block.stage for block in built])
    centres = _END + 0.5 + np.arange(len(built)) + _GAP * np.cumsum(np.diff(stage, prepend=stage[0]))
    total = float(centres[-1] + 0.5 + _END)
    kept, most = (np.array([getattr(block, size) for block in built]) for size in ("width", "most"))
    shape = "\u00d7".join(map(str, architecture.image_shape))

    def paint(figure: Figure) -> None:
        axes = _sheet(figure, (0, total), (-0.62 * max(most), 0.84 * max(most)))
        axes.axhline(0, 0.5 * _END / total, 1 - 0.5 * _END / total, color=FAINT, linewidth=1, zorder=0)
        colours = [
            _KIND_COLOURS.get(block.kind, BLUE) if block.kind else _STAGE_COLOURS[(block.stage - 1) % 2]
            for block in built
        ]
        axes.bar(centres, most, 0.76, bottom=-most / 2, facecolor=_ROOM, edgecolor=_OUTLINE, linewidth=0.8)
        axes.bar(centres, kept, 0.76, bottom=-kept / 2, color=colours)
        for block, x in zip(built, centres, strict=True):
            for option in {*block.options} - {block.width, block.most}:
                line = {"color": "white" if option < block.width else _OUTLINE, "linewidth": 0.5}
                axes.hlines((-option / 2, option / 2), x - 0.38, x + 0.38, **line)
            _note(axes, str(block.width), (x, block.most / 2), 2, fontsize=8, fontweight="bold")
            if block.options:
                _note(axes, f"of {block.most}", (x, -block.most / 2), -3, fontsize=6.5, color=QUIET)
        for (_, kind), run in groupby(range(len(built)), key=lambda place: (built[place].stage, built[place].kind)):
            alike = list(run)
            words = kind if len(alike) == 1 else f"{len(alike)} {kind}"
            if kind:
                _note(axes, words, (centres[alike].mean(), -most[alike[0]] / 2), -3, fontsize=7, color=QUIET)
        for number in dict.fromkeys(stage.tolist()):
            of = np.flatnonzero(stage == number)
            first, last = built[of[0]], built[of[-1]]
            words = f"stage {number}\n{last.resolution}\u00d7{last.resolution}\nstride {first.stride}"
            at = {"xycoords": ("data", "axes fraction"), "fontsize": 7.5, "color": QUIET}
            _note(axes, words, (centres[of].mean(), 1), -6, **at)
        box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": FAINT, "linewidth": 0.8}
        for x, text in ((0.5 * _END, f"image\n{shape}"), (total - 0.5 * _END, f"{architecture.num_classes}\nclasses")):
            axes.text(x, 0, text, ha="center", va="center", fontsize=7.5, bbox=box)

    of = ", ".join(f"{block.kind} {block.width}" if block.kind else f"{block.width} of {block.most}" for block in built)
    alt = f"Channels of each block, of the most it could have where that was searched: {of}."
    return draw("architecture", alt, (max(560, 26 * total), 310), paint)


def _note(axes: Axes, text: str, point: tuple[float, float], above: float, **looks: Any) -> None:
    """Text that many points above a point, or below it."""
    side = {"va": "bottom" if above > 0 else "top", "ha": "center", "textcoords": "offset points"}
    axes.annotate(text, point, (0, above), **side, **looks)


# -- tutors --------------------------------------------------------------------------------------------------


def draw_tutors(architecture: Architecture) -> Picture:
    """Student layers by teacher layers: the probability of every tutor if known, the chosen ones marked and counted.

    Args:
        architecture: with a tutor for every tap.
    """
    tutelage = architecture.tutelage
    student, teacher = architecture.taps, tutelage.teacher_taps
    chosen = [teacher.index(tutor) for tutor in tutelage.tutors]
    known = len(tutelage.probabilities) > 0
    probabilities = np.array(tutelage.probabilities) if known else np.zeros((len(student), len(teacher)))
    # Cells never smaller than a label is high, so that every axis label stays legible at any size.
    cell_x = float(np.clip(480 / len(teacher), 15, 34))
    cell_y = float(np.clip(420 / len(student), 13.5, 28))
    across, down = cell_x * len(teacher), cell_y * len(student)
    left, below = (16 + 5.6 * max(map(len, taps)) for taps in (student, teacher))

    def paint(figure: Figure) -> None:
        bars, axes = figure.subplots(2, 1, sharex=True, height_ratios=(40, down))
        image = heatmap(axes, probabilities, student, teacher, cmap="Blues", vmin=0)
        if known:
            scale(figure, image, axes, "p")
        axes.tick_params(axis="x", rotation=90)
        size = min(0.36 * min(cell_x, cell_y), 7) ** 2
        looks = {"color": ACCENT, "edgecolors": "white", "linewidths": 0.9, "zorder": 3}
        axes.scatter(chosen, range(len(student)), s=size, **looks)
        axes.set_xlabel("teacher layer, input to output", fontsize=8)
        counts = np.bincount(chosen, minlength=len(teacher))
        named = bars.bar(range(len(teacher)), counts, width=0.72, color=ACCENT)
        bars.bar_label(named, [count or "" for count in counts.tolist()], fontsize=6.5, padding=1)
        bars.set_ylim(0, counts.max() * 1.45)
        bars.set_axis_off()
        bars.set_title("student layers per tutor", fontsize=8, fontweight="normal")

    pairs = ", ".join(f"{layer} from {tutor}" for layer, tutor in zip(student, tutelage.tutors, strict=True))
    size = (left + across + 74, 80 + down + below)
    # Never shrunk: its labels are the smallest of all.
    return draw("tutors", f"Tutor of every student layer: {pairs}.", size, paint, wide=True)
