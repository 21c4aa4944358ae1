"""Cells as an architecture.json states them: the operation on every edge, and how the cells are stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import re
from typing import Any, NamedTuple

from rnas.spaces import nasbench201

TYPES = ("accurate", "normal", "reduce", "robust", "cell")  # near the image first, as far as a space has them
NODES = (2, 3, 4, 5)  # states 0 and 1 are the outputs of the two cells before
EDGES = 14  # into node n lead n of them
TABULAR = "nasbench201"  # space of one type of cell, with an operation on every edge
_RATIOS = {"darts": (1, 2, 4)}  # widths before, between and after the reductions; elsewhere 1:2:2
_COLLAPSED = 6  # pools and skips among the 8 edges of a cell

# Operation -> (short name, kind).
OPERATIONS = {
    "none": ("none", "none"),
    "max_pool_3x3": ("max 3\u00d73", "pool"),
    "avg_pool_3x3": ("avg 3\u00d73", "pool"),
    "skip_connect": ("skip", "skip"),
    "sep_conv_3x3": ("sep 3\u00d73", "separable"),
    "sep_conv_5x5": ("sep 5\u00d75", "separable"),
    "dil_conv_3x3": ("dil 3\u00d73", "dilated"),
    "dil_conv_5x5": ("dil 5\u00d75", "dilated"),
    "nor_conv_1x1": ("conv 1\u00d71", "pointwise"),
    "nor_conv_3x3": ("conv 3\u00d73", "convolution"),
}


class Layout(NamedTuple):
    """The states of a cell: so many inputs, numbered from 0, and the nodes after them."""

    inputs: int
    nodes: tuple[int, ...]

    @property
    def states(self) -> range:
        return range(self.inputs + len(self.nodes))

    @property
    def edges(self) -> int:
        """Into node n lead n of them."""
        return sum(self.nodes)


STACKED, IN_TABLE = Layout(2, NODES), Layout(1, (1, 2, 3))


def layout(kind: str) -> Layout:
    """The states of a type of cell."""
    return IN_TABLE if kind == "cell" else STACKED


def cell_name(kind: str) -> str:
    """What a type of cell is called at the beginning of a sentence; the only one of its space needs no name."""
    return "The cell" if kind == "cell" else f"{kind.capitalize()} cell"


class Edge(NamedTuple):
    """An operation on the output of one state (`source`), added into a later one (`node`), in a cell with `inputs`."""

    operation: str
    source: int
    node: int
    inputs: int = STACKED.inputs

    @property
    def number(self) -> int:
        """Its place among all edges of a cell: node by node, sources ascending."""
        return first_edge(self.node, self.inputs) + self.source

    @property
    def short(self) -> str:
        return OPERATIONS[self.operation][0]

    @property
    def kind(self) -> str:
        return OPERATIONS[self.operation][1]


def first_edge(node: int, inputs: int = STACKED.inputs) -> int:
    """The number of the edge from state 0 to a node: 0, 2, 5, 9, or 0, 1, 3 after a single input."""
    return (node * (node - 1) - inputs * (inputs - 1)) // 2


def state_name(state: int, inputs: int = STACKED.inputs) -> str:
    """A state in formulas: two inputs by the cell they come from, all else by its number."""
    return f"c_{{k-{2 - state}}}" if state < inputs == 2 else str(state)


def read_cells(architecture: Mapping[str, Any]) -> dict[str, tuple[Edge, ...]]:
    """The cells of an architecture, type -> 8 edges, two a node with the stronger first; empty if it has none.

    Of NAS-Bench-201 it is one cell with 6 edges, in the order of the digits of its code.

    Raises:
        ValueError: a cell is not such a list of [operation, source], or `placement` names a type without a cell.
    """
    if architecture.get("space") == TABULAR:
        return {"cell": _read_code(architecture.get("code"))}
    cells = {kind: _read_cell(kind, architecture[kind]) for kind in TYPES if kind in architecture}
    strangers = sorted(set(architecture.get("placement", ())) - set(cells)) if cells else []
    if strangers:
        raise ValueError(f"placement names {', '.join(strangers)}, but the cells are {', '.join(cells)}")
    return cells


def _read_cell(kind: str, entries: Any) -> tuple[Edge, ...]:
    expected = f"expected {2 * len(NODES)} pairs [operation, source], two for each of the nodes {NODES}"
    if not isinstance(entries, list) or len(entries) != 2 * len(NODES):
        raise ValueError(f"cell {kind!r} is {entries!r}, {expected}")
    edges = []
    for place, entry in enumerate(entries):
        node = NODES[place // 2]
        if not isinstance(entry, list) or len(entry) != 2:
            raise ValueError(f"cell {kind!r} holds {entry!r}, {expected}")
        operation, source = entry
        if operation not in OPERATIONS or operation == "none":
            known = ", ".join(name for name in OPERATIONS if name != "none")
            raise ValueError(f"cell {kind!r}: operation {operation!r} is unknown; known are {known}")
        if not isinstance(source, int) or not 0 <= source < node:
            raise ValueError(f"cell {kind!r}: source {source!r} of node {node}, expected 0 to {node - 1}")
        if place % 2 and edges[-1].source == source:
            raise ValueError(f"cell {kind!r}: node {node} takes state {source} twice, expected two different ones")
        edges.append(Edge(operation, source, node))
    return tuple(edges)


def _read_code(code: Any) -> tuple[Edge, ...]:
    if not isinstance(code, str) or not re.fullmatch(f"[0-4]{{{IN_TABLE.edges}}}", code):
        raise ValueError(f"code is {code!r}, expected {IN_TABLE.edges} digits from 0 to 4")
    ends = [(source, node) for node in IN_TABLE.nodes for source in range(node)]
    return tuple(
        Edge(nasbench201.OPERATIONS[int(digit)], *end, IN_TABLE.inputs) for digit, end in zip(code, ends, strict=True)
    )


def blocks(architecture: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The blocks of a network from image to classes; empty where the architecture does not state them.

    Returns:
        Those of `blocks`, or of `placement` in the same form: `name`, `type`, `stage` (from 1, each after the
        first begins with a reduction), `width` (channels C of the cell; 4C leave it), `stride`, `resolution` (of
        the output), `options` (none).
    """
    if "blocks" in architecture:
        return architecture["blocks"]
    placement, channels, shape = (architecture.get(key) for key in ("placement", "channels", "image_shape"))
    if not placement or channels is None:
        return []
    ratio = architecture.get("width_ratio") or _RATIOS.get(architecture.get("space"), (1, 2, 2))
    laid, reductions = [], 0
    for number, kind in enumerate(placement):
        reductions += kind == "reduce"
        block = {
            "name": f"cell{number}",
            "type": kind,
            "stage": reductions + 1,
            "width": channels * ratio[min(reductions, len(ratio) - 1)],
            "stride": 2 if kind == "reduce" else 1,
            "options": [],
        }
        laid.append(block | ({"resolution": -(-shape[0] // 2**reductions)} if shape else {}))
    return laid


def collapsed(edges: Sequence[Edge]) -> int | None:
    """Pools and skips among the edges of a cell where they are so many that little is left to learn, else None."""
    weightless = sum(edge.kind in ("pool", "skip") for edge in edges)
    return weightless if weightless >= _COLLAPSED else None
