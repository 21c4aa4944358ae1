"""Cells and blocks of a network as a page draws them, whatever the space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rnas.artifacts.architecture import Architecture, CellArchitecture, NASBench201Architecture, WidthArchitecture
from rnas.pages.canvas import FAINT
from rnas.spaces import cell_space, nasbench201, width_space

COLLAPSED = cell_space.COLLAPSED

# Operation -> (short name, colour, dashes). Others are drawn by their own name, grey.
LOOKS = {
    "none": ("none", FAINT, (0, (1, 1.5))),
    "max_pool_3x3": ("max 3\u00d73", "#007d5a", "-"),
    "avg_pool_3x3": ("avg 3\u00d73", "#007d5a", "-"),
    "skip_connect": ("skip", "#6b7177", (0, (4, 2))),
    "sep_conv_3x3": ("sep 3\u00d73", "#0072b2", "-"),
    "sep_conv_5x5": ("sep 5\u00d75", "#0072b2", "-"),
    "dil_conv_3x3": ("dil 3\u00d73", "#d55e00", "-"),
    "dil_conv_5x5": ("dil 5\u00d75", "#d55e00", "-"),
    "nor_conv_1x1": ("conv 1\u00d71", "#a84a8c", "-"),
    "nor_conv_3x3": ("conv 3\u00d73", "#00558a", "-"),
}


def look(operation: str) -> tuple[str, str, object]:
    """Short name, colour and dashes of an operation."""
    return LOOKS.get(operation, (operation, "#6b7177", "-"))


class Edge(NamedTuple):
    """An operation on the output of one state (`source`), added into a later one (`node`)."""

    operation: str
    source: int
    node: int


class Graph(NamedTuple):
    """A type of cell.

    Attributes:
        kind: name of the type.
        inputs: states 0 to inputs - 1 are outputs of the cells before.
        nodes: the states after them.
        edges: node by node; of two a node the stronger first.
    """

    kind: str
    inputs: int
    nodes: tuple[int, ...]
    edges: tuple[Edge, ...]

    @property
    def title(self) -> str:
        """The type at the beginning of a sentence."""
        return "The cell" if self.kind == "cell" else f"{self.kind.capitalize()} cell"

    @property
    def states(self) -> range:
        return range(self.inputs + len(self.nodes))

    @property
    def weightless(self) -> int:
        """How many of its operations have no weights: pools and skips."""
        return sum(edge.operation in cell_space.WITHOUT_KERNEL for edge in self.edges)

    def state(self, number: int) -> str:
        """A state in text: of two inputs c_{k-2} and c_{k-1}, all else by its number."""
        return ("c\u2096\u208b\u2082", "c\u2096\u208b\u2081")[number] if number < self.inputs == 2 else str(number)

    def formula(self, number: int) -> str:
        """The same as matplotlib sets it."""
        return f"$c_{{k-{2 - number}}}$" if number < self.inputs == 2 else str(number)


def empty_graph(space: cell_space.EdgeSpace, kind: str) -> Graph:
    """A type of cell of a space, before anything is known of its edges."""
    nodes = tuple(dict.fromkeys(node for node, _ in space.edges))
    return Graph(kind, min(nodes), nodes, ())


def graphs(architecture: Architecture | None) -> dict[str, Graph]:
    """Type -> cell of a network; empty if it is not made of cells."""
    if isinstance(architecture, CellArchitecture):
        found = {}
        for kind, pairs in architecture.genotype.cells:
            nodes = (node for node in cell_space.CONCAT for _ in range(2))
            edges = tuple(Edge(operation, source, node) for (operation, source), node in zip(pairs, nodes, strict=True))
            found[kind] = empty_graph(architecture.space, kind)._replace(edges=edges)
        return found
    if isinstance(architecture, NASBench201Architecture):
        operations = (nasbench201.OPERATIONS[int(digit)] for digit in architecture.code)
        edges = tuple(Edge(name, *ends) for name, ends in zip(operations, nasbench201.EDGES, strict=True))
        return {"cell": empty_graph(nasbench201.EDGE_SPACE, "cell")._replace(edges=edges)}
    return {}


def search_space(name: str | None) -> cell_space.EdgeSpace | None:
    """The space of a search for cells by its name; None for any other."""
    return {**cell_space.SPACES, nasbench201.EDGE_SPACE.name: nasbench201.EDGE_SPACE}.get(name)


class Block(NamedTuple):
    """A block between image and classes.

    Attributes:
        name, kind: `kind` is the type of a cell, "" of other blocks.
        stage: from 1, each after the first begins where the image shrinks.
        width: channels; of a cell C, of which 4C leave it.
        options: widths the search could choose from.
        expansion: None of a cell.
        resolution: side of its output in pixels.
    """

    name: str
    kind: str
    stage: int
    width: int
    options: tuple[int, ...]
    stride: int
    expansion: int | None
    resolution: int

    @property
    def most(self) -> int:
        """The widest it could have been."""
        return max(self.width, *self.options, 0)


def blocks(architecture: Architecture | None) -> Sequence[Block]:
    """The blocks of a network from image to classes; empty for cells of NAS-Bench-201, which are all alike."""
    if isinstance(architecture, WidthArchitecture):
        _, sides = width_space.resolutions(architecture.space, architecture.image_shape[0])
        return [
            Block(block.name, "", block.stage, width, block.options, block.stride, block.expansion, side)
            for block, width, side in zip(architecture.space.blocks, architecture.widths, sides, strict=True)
        ]
    if not isinstance(architecture, CellArchitecture):
        return []
    space, count = architecture.space, architecture.cells
    widths = space.widths(count, architecture.channels, architecture.width_ratio)
    found, reductions = [], 0
    for number, (kind, width) in enumerate(zip(space.placement(count), widths, strict=True)):
        reductions += kind == "reduce"
        side = -(-architecture.image_shape[0] // 2**reductions)
        stride = 2 if kind == "reduce" else 1
        found.append(Block(f"cell{number}", kind, reductions + 1, width, (), stride, None, side))
    return found
