"""A cell as a directed graph: states in a row, every edge an arc over them with its operation at the top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rnas.pages.canvas import FAINT, INK, KINDS, Picture, draw
from rnas.pages.cells import Edge, cell_name, layout, state_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# All in CSS pixels. Arcs of one span are equally high and their tops a step apart; of two spans, one is higher.
# So no two labels can meet.
_SPAN, _MARGIN = 636, 52  # from the first state to the output
_WIDTH = 2 * _MARGIN + _SPAN
_LOW, _RISE = 38, 31  # height of an arc to the next state, and what each further state adds
_BOX, _HALF = 46, 13  # width and half the height of a state
_SLOT = 8  # between the ends of arcs at one state
_BUS = 38  # from the states down to the line that collects the output
_TITLE, _ABOVE, _BELOW = 24, 16, 2 * _HALF + _BUS + 18  # room for the title, for the top label, under the arcs


def draw_cells(name: str, cells: Mapping[str, Sequence[Edge]]) -> Picture:
    """Cells one below the other, each with its type above it where there are several.

    Args:
        name: of the file.
        cells: type -> edges.
    """
    title = _TITLE if len(cells) > 1 else 0
    above = {kind: title + _ABOVE + max(map(_rise, edges)) for kind, edges in cells.items()}
    height = sum(above.values()) + len(cells) * _BELOW

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, _WIDTH), ylim=(0, height))
        top = height
        for kind, edges in cells.items():
            if title:
                axes.text(8, top - 14, f"{kind} cell", fontsize=9, fontweight="bold", va="center")
            _paint_cell(axes, kind, edges, top - above[kind])
            top -= above[kind] + _BELOW

    said = (f"{cell_name(kind)}: {', '.join(map(_words, edges))}." for kind, edges in cells.items())
    return draw(name, " ".join(said), (_WIDTH, height), paint)


def _words(edge: Edge) -> str:
    return f"{edge.short} from {state_name(edge.source, edge.inputs)} to {edge.node}"


def _rise(edge: Edge) -> float:
    return _LOW + (edge.node - edge.source - 1) * _RISE


def _step(kind: str) -> float:
    """From one state to the next. After two inputs the output has a place of its own; after one the last node is it."""
    cell = layout(kind)
    return _SPAN / (len(cell.states) if cell.inputs == 2 else cell.states[-1])


def _across(state: int, kind: str) -> float:
    return _MARGIN + state * _step(kind)


def _paint_cell(axes: Axes, kind: str, edges: Sequence[Edge], floor: float) -> None:
    """Paints a cell whose arcs stand on `floor`, the upper side of its states."""
    middle = floor - _HALF
    inputs, nodes = layout(kind)
    for state in layout(kind).states:
        given = state < inputs
        name = f"${state_name(state, inputs)}$" if given and inputs == 2 else str(state)
        _box(axes, _across(state, kind), middle, name, "white" if given else "#e3edf6", bold=not given)
    for edge, start, end in _ends(kind, edges):
        _arc(axes, edge, start, end, floor)
    if inputs == 1:
        return
    bus, output = middle - _HALF - _BUS + 13, _across(len(layout(kind).states), kind)
    quiet = {"color": FAINT, "linewidth": 1.1, "zorder": 1}
    axes.vlines([_across(node, kind) for node in nodes], bus, middle - _HALF, **quiet)
    axes.annotate(
        "",
        (output - _BOX / 2 - 4, bus),
        (_across(nodes[0], kind), bus),
        arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
    )
    _box(axes, output, bus, "output", "white")


def _box(axes: Axes, x: float, y: float, words: str, colour: str, bold: bool = False) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner, size = (x - _BOX / 2 + 4, y - _HALF + 4), (_BOX - 8, 2 * _HALF - 8)
    looks = {"facecolor": colour, "edgecolor": "#6b7177", "linewidth": 0.9, "zorder": 3}
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=4", **looks))
    axes.text(x, y, words, ha="center", va="center", fontsize=8.5, zorder=4, fontweight="bold" if bold else "normal")


def _ends(kind: str, edges: Sequence[Edge]) -> list[tuple[Edge, float, float]]:
    """Where each arc leaves and arrives: side by side on top of a state, ordered so that nested arcs do not cross."""
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for state in layout(kind).states:
        # From left to right: what arrives, the nearest source first; then what leaves, the farthest node first.
        arriving = sorted((at for at, edge in enumerate(edges) if edge.node == state), key=lambda at: -edges[at].source)
        leaving = sorted((at for at, edge in enumerate(edges) if edge.source == state), key=lambda at: -edges[at].node)
        slots = len(arriving) + len(leaving)
        gap = min(_SLOT, (_BOX - 8) / max(1, slots - 1))
        for slot, at in enumerate((*arriving, *leaving)):
            place = ends if slot < len(arriving) else starts
            place[at] = _across(state, kind) + (slot - (slots - 1) / 2) * gap
    return [(edge, starts[at], ends[at]) for at, edge in enumerate(edges)]


def _arc(axes: Axes, edge: Edge, start: float, end: float, floor: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    colour, dashes = KINDS[edge.kind]
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
        edge.short,
        ha="center",
        va="center",
        fontsize=8,
        color=INK if edge.kind == "skip" else colour,
        zorder=5,
        bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none"},
    )
