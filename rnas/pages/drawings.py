"""Drawings of what a search found: cells as graphs, the network block by block, and the tutors it chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.artifacts.architecture import Architecture
from rnas.pages.canvas import ACCENT, BLUE, COLUMN, NAVY, Picture, draw, heatmap, scale
from rnas.pages.cells import Edge, Graph, blocks, look
from rnas.pages.site import render, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# All in CSS pixels. Arcs of one span are equally high and their tops a step apart; of two spans, one is higher.
# So no two labels can meet.
_SPAN, _MARGIN = 636, 52  # from the first state to the output
_LOW, _RISE = 38, 31  # height of an arc to the next state, and what each further state adds
_SLOT, _ROOM = 8, 38  # between the ends of arcs at one state, and for all of them
_TITLE, _ABOVE, _BELOW = 24, 16, 82  # room for the title, for the top label, under the arcs


def draw_cells(name: str, graphs: Sequence[Graph]) -> Picture:
    """Cells one below the other, each with its type above it where there are several; `name`: of the file."""
    drawn, top = [], 0
    for graph in graphs:
        title = _TITLE if len(graphs) > 1 else 0
        floor = top + title + _ABOVE + max(map(_rise, graph.edges))
        # After two inputs the output has a place of its own; after one the last node is the output.
        places = len(graph.states) + (graph.inputs == 2)
        across = np.linspace(_MARGIN, _MARGIN + _SPAN, places).round(1).tolist()
        drawn.append(
            {"graph": graph, "top": top, "floor": floor, "across": across, "arcs": _arcs(graph, across, floor)}
        )
        top = floor + _BELOW
    width = 2 * _MARGIN + _SPAN
    picture = render("cells.svg", {"drawn": drawn, "width": width, "height": top}).encode()
    return Picture(name, picture, say("cells", graphs), width, top)


def _rise(edge: Edge) -> int:
    return _LOW + (edge.node - edge.source - 1) * _RISE


def _arcs(graph: Graph, across: Sequence[float], floor: int) -> list[dict[str, Any]]:
    """An arc an edge. Its ends stand side by side on top of the states, so that nested arcs do not cross."""
    ends: dict[tuple[Edge, int], float] = {}
    for state in graph.states:
        # From left to right: what arrives, the nearest source first; then what leaves, the farthest node first.
        arriving = sorted((edge for edge in graph.edges if edge.node == state), key=lambda edge: -edge.source)
        leaving = sorted((edge for edge in graph.edges if edge.source == state), key=lambda edge: -edge.node)
        slots = [*arriving, *leaving]
        gap = min(_SLOT, _ROOM / max(1, len(slots) - 1))
        for slot, edge in enumerate(slots):
            ends[edge, state] = round(across[state] + (slot - (len(slots) - 1) / 2) * gap, 1)
    arcs = []
    for edge in graph.edges:
        name, colour, dashes = look(edge.operation)
        start, end, height = ends[edge, edge.source], ends[edge, edge.node], _rise(edge)
        # The top of a cubic is at three quarters of its inner points.
        shape = {
            "lean": round(0.07 * (end - start), 1),
            "inner": round(floor - height / 0.75, 1),
            "top": floor - height,
        }
        stroke = {"colour": colour, "dashes": "" if dashes == "-" else " ".join(f"{2 * part:g}" for part in dashes[1])}
        arcs.append({"name": name, "start": start, "end": end, **shape, **stroke})
    return arcs


_STAGE_COLOURS = (BLUE, NAVY)
_KIND_COLOURS = {"reduce": "#8a9199", "robust": ACCENT}  # of cells; the others are blue
_GAP, _END = 0.7, 2.4  # in widths of a bar: between stages, and for the words at either end


def draw_network(architecture: Architecture) -> Picture:
    """Blocks from image to classes; cells have the colour of their type."""
    built = blocks(architecture)
    stages = built[-1].stage - built[0].stage
    total = len(built) + _GAP * stages + 2 * _END
    unit = max(560 / total, 26)
    bars = []
    for place, block in enumerate(built):
        x = unit * (_END + 0.5 + place + _GAP * (block.stage - built[0].stage))
        colour = _KIND_COLOURS.get(block.kind, BLUE) if block.kind else _STAGE_COLOURS[(block.stage - 1) % 2]
        bars.append({"block": block, "x": round(x, 1), "colour": colour})
    context: dict[str, Any] = {
        "bars": bars,
        "width": round(unit * total),
        "wide": round(0.76 * unit, 1),
        "end": round(0.5 * _END * unit, 1),
        "scale": 212 / max(block.most for block in built),  # pixels a channel
        "shape": "\u00d7".join(map(str, architecture.image_shape)),
        "classes": architecture.num_classes,
    }
    width, picture = context["width"], render("network.svg", context).encode()
    return Picture("architecture", picture, say("network", built), width, 310, wide=width > COLUMN)


def draw_tutors(architecture: Architecture) -> Picture:
    """Student layers by teacher layers: the probability of every tutor if known, the chosen ones marked and counted."""
    assignment = architecture.tutor_assignment
    student, teacher = architecture.taps, assignment.teacher_taps
    chosen = [teacher.index(tutor) for tutor in assignment.tutors]
    known = len(assignment.probabilities) > 0
    probabilities = np.array(assignment.probabilities) if known else np.zeros((len(student), len(teacher)))
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

    pairs = ", ".join(f"{layer} from {tutor}" for layer, tutor in zip(student, assignment.tutors, strict=True))
    size = (left + across + 74, 80 + down + below)
    # Never shrunk: its labels are the smallest of all.
    return draw("tutors", f"Tutor of every student layer: {pairs}.", size, paint, wide=True)
