"""How a cell search decides: the probability of every operation on every edge, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.pages.canvas import BOUNDARY, INK, KINDS, Picture, draw
from rnas.pages.cells import OPERATIONS, TYPES, Edge, first_edge, layout, state_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# CSS pixels: panels stand in a triangle, nodes down and sources across.
_PANEL_WIDTH, _PANEL_HEIGHT, _COLUMN_GAP, _ROW_GAP = 122, 84, 17, 26
_LEFT, _TOP, _RIGHT, _BELOW = 42, 26, 10, 40
_SECOND = ("max_pool_3x3", "sep_conv_5x5", "dil_conv_5x5")  # of two of a kind: dashed
_DASHED = (0, (3.2, 1.4))


@dataclass(frozen=True)
class Choices:
    """The softmax over operations on the edges of one type of cell while the search ran.

    Attributes:
        time: [T] epochs, or steps where epochs were not recorded; `axis` says which.
        operations: names [O].
        probabilities: [T, E, O], of the E edges of the type.
    """

    axis: str
    time: np.ndarray
    operations: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def uncertainty(self) -> np.ndarray:
        """Entropy over that of a uniform choice, mean over edges: 1 undecided, 0 decided. [T]."""
        safe = np.clip(self.probabilities, 1e-12, 1)
        entropy = -(safe * np.log(safe)).sum(axis=-1).mean(axis=-1)
        return entropy / math.log(max(2, len(self.operations)))


def read_choices(rows: Sequence[Mapping[str, Any]]) -> dict[str, Choices]:
    """Type -> what was recorded of it; empty without rows.

    Args:
        rows: of metrics.jsonl, in order of step, with keys `type/edge/operation`.

    Raises:
        ValueError: a key is of no edge or operation that is known, or a row lacks what the others have.
    """
    axis = "epoch" if all("epoch" in row for row in rows) else "step"
    names: dict[str, dict[str, None]] = {}
    for key in dict.fromkeys(key for row in rows for key in row if key.count("/") == 2):
        kind, edge, operation = key.split("/")
        last = layout(kind).edges - 1
        if kind not in TYPES or operation not in OPERATIONS or edge not in map(str, range(last + 1)):
            raise ValueError(
                f"probability {key!r} is of no known edge; expected type/edge/operation, the type one of "
                f"{', '.join(TYPES)}, the edge 0 to {last}, the operation one of {', '.join(OPERATIONS)}"
            )
        names.setdefault(kind, {})[operation] = None
    return {kind: _choices(kind, axis, rows, tuple(names[kind])) for kind in TYPES if kind in names}


def _choices(kind: str, axis: str, rows: Sequence[Mapping[str, Any]], operations: tuple[str, ...]) -> Choices:
    edges = layout(kind).edges
    keys = [f"{kind}/{edge}/{operation}" for edge in range(edges) for operation in operations]
    for row in rows:
        if absent := [key for key in keys if not isinstance(row.get(key), int | float)]:
            raise ValueError(f"step {row['step']} lacks the probabilities {', '.join(absent[:3])}")
    values = np.array([[row[key] for key in keys] for row in rows], float)
    time = np.array([row[axis] for row in rows], float)
    return Choices(axis, time, operations, values.reshape(len(rows), edges, len(operations)))


def plot_choices(kind: str, choices: Choices, kept: Sequence[Edge], mark: float | None = None) -> Picture:
    """A panel an edge, nodes down and sources across; edges the cell kept are tinted and named.

    Args:
        kind: type of the cell; names the file.
        kept: edges of the cell; empty while the search has not ended.
        mark: an epoch to mark; left out where epochs were not recorded.
    """
    inputs, nodes = layout(kind)
    columns, rows = max(nodes), len(nodes)
    width = _LEFT + columns * _PANEL_WIDTH + (columns - 1) * _COLUMN_GAP + _RIGHT
    height = _TOP + rows * _PANEL_HEIGHT + (rows - 1) * _ROW_GAP + _BELOW
    chosen = {edge.number: edge for edge in kept}
    top = float(np.nanmax(choices.probabilities)) * 100

    def paint(figure: Figure) -> None:
        def place(row: int, column: int, across: int = 1) -> Axes:
            left = _LEFT + column * (_PANEL_WIDTH + _COLUMN_GAP)
            above = _TOP + row * (_PANEL_HEIGHT + _ROW_GAP)
            wide = across * _PANEL_WIDTH + (across - 1) * _COLUMN_GAP
            return figure.add_axes(
                (left / width, 1 - (above + _PANEL_HEIGHT) / height, wide / width, _PANEL_HEIGHT / height)
            )

        for row, node in enumerate(nodes):
            for source in range(node):
                number = first_edge(node, inputs) + source
                axes = place(row, source)
                _paint_edge(axes, choices, number, chosen.get(number))
                title = _title(source, node, inputs, chosen.get(number))
                axes.set_title(title, fontsize=7.5, pad=3, fontweight="normal")
                axes.set_ylim(0, 1.06 * top)
                _frame(axes, choices, mark, left=source == 0, lowest=row == rows - 1)
        _paint_legend(place(0, columns - 2, 2), choices.operations)
        axes = place(1, columns - 1)
        axes.plot(choices.time, choices.uncertainty, color=INK, linewidth=1.4)
        axes.set_title("undecided, 1 = uniform", fontsize=7.5, pad=3, fontweight="normal")
        _frame(axes, choices, mark, left=True, lowest=True)
        axes.set(ylim=(0, 1.05), yticks=(0, 1))

    ends = ", ".join(
        f"{edge.short} from {state_name(edge.source, inputs)} to {edge.node} "
        f"{choices.probabilities[-1, edge.number, choices.operations.index(edge.operation)]:.2f}"
        for edge in kept
        if edge.operation in choices.operations
    )
    of = "" if kind == "cell" else f"{kind} "
    alt = f"Probability of every operation on every edge of the {of}cell{f'; kept: {ends}' if ends else ''}."
    return draw(f"choices_{kind}", alt, (width, height), paint)


def _title(source: int, node: int, inputs: int, kept: Edge | None) -> str:
    way = f"${state_name(source, inputs)}$ \u2192 {node}" if source < inputs else f"{source} \u2192 {node}"
    return f"{way}: {kept.short}" if kept else way


def _looks(operation: str) -> dict[str, Any]:
    colour, dashes = KINDS[OPERATIONS[operation][1]]
    return {"color": colour, "linestyle": _DASHED if operation in _SECOND else dashes}


def _paint_edge(axes: Axes, choices: Choices, number: int, kept: Edge | None) -> None:
    for place, operation in enumerate(choices.operations):
        wins = kept is not None and operation == kept.operation
        axes.plot(
            choices.time,
            100 * choices.probabilities[:, number, place],
            linewidth=2.4 if wins else 1.0,
            zorder=3 if wins else 2,
            **_looks(operation),
        )
    if kept:
        axes.set_facecolor("#fff3d6")


def _frame(axes: Axes, choices: Choices, mark: float | None, left: bool, lowest: bool) -> None:
    if mark is not None and choices.axis == "epoch":
        axes.axvline(mark, **BOUNDARY)
    axes.set_xlim(choices.time[0], max(choices.time[-1], choices.time[0] + 1))
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(labelsize=6.5, labelleft=left, labelbottom=lowest, length=2, pad=2)
    if lowest:
        axes.set_xlabel(choices.axis, fontsize=7, labelpad=1)


def _paint_legend(axes: Axes, operations: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    lines = [Line2D([], [], linewidth=1.6, label=OPERATIONS[name][0], **_looks(name)) for name in operations]
    axes.legend(handles=lines, loc="upper right", ncols=2, fontsize=7.5, handlelength=3, borderaxespad=0)
