"""Cells as an architecture.json states them: the operation on every edge, and how the cells are stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

TYPES = ("accurate", "normal", "reduce", "robust")  # near the image first, as far as a space has them
NODES = (2, 3, 4, 5)  # states 0 and 1 are the outputs of the two cells before
EDGES = 14  # into node n lead n of them
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
}


class Edge(NamedTuple):
    """An operation on the output of one state (`source`, 0 to 5), added into a node (2 to 5)."""

    operation: str
    source: int
    node: int

    @property
    def number(self) -> int:
        """Its place among all edges of a cell: node by node, sources ascending."""
        return first_edge(self.node) + self.source

    @property
    def short(self) -> str:
        return OPERATIONS[self.operation][0]

    @property
    def kind(self) -> str:
        return OPERATIONS[self.operation][1]


def first_edge(node: int) -> int:
    """The number of the edge from state 0 to a node: 0, 2, 5, 9."""
    return node * (node - 1) // 2 - 1


def state_name(state: int) -> str:
    """A state in formulas: the two inputs by the cell they come from, nodes by their number."""
    return f"c_{{k-{2 - state}}}" if state < 2 else str(state)


def read_cells(architecture: Mapping[str, Any]) -> dict[str, tuple[Edge, ...]]:
    """The cells of an architecture, type -> 8 edges, two a node with the stronger first; empty if it has none.

    Raises:
        ValueError: a cell is not such a list of [operation, source], or `placement` names a type without a cell.
    """
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
