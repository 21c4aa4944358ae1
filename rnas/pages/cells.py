"""Cells and blocks of a network as a page draws them, whatever the space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rnas.artifacts.architecture import Architecture, CellArchitecture, NASBench201Architecture, WidthArchitecture
from rnas.pages.canvas import ACCENT, BLUE, FAINT, NAVY, PURPLE, QUIET
from rnas.spaces import cell_space, nasbench201, width_space

_POOL, _SKIP = "#007d5a", (0, (4, 2))

# Operation -> (short name, colour, dashes). Others are drawn by their own name, grey.
LOOKS = {
    "none": ("none", FAINT, (0, (1, 1.5))),
    "max_pool_3x3": ("max 3\u00d73", _POOL, "-"),
    "avg_pool_3x3": ("avg 3\u00d73", _POOL, "-"),
    "skip_connect": ("skip", QUIET, _SKIP),
    "sep_conv_3x3": ("sep 3\u00d73", BLUE, "-"),
    "sep_conv_5x5": ("sep 5\u00d75", BLUE, "-"),
    "dil_conv_3x3": ("dil 3\u00d73", ACCENT, "-"),
    "dil_conv_5x5": ("dil 5\u00d75", ACCENT, "-"),
    "nor_conv_1x1": ("conv 1\u00d71", PURPLE, "-"),
    "nor_conv_3x3": ("conv 3\u00d73", NAVY, "-"),
}


def code_legend() -> str:
    """What the digits of the code of a cell of NAS-Bench-201 stand for."""
    edges = ", ".join(f"{source} \u2192 {node}" for source, node in nasbench201.EDGES)
    operations = ", ".join(f"{digit} {look(name)[0]}" for digit, name in enumerate(nasbench201.OPERATIONS))
    words = f"A cell\u2019s code has a digit for each of its edges {edges}: {operations}."
    return f"{words} State 0 enters the cell, state 3 leaves it."


def look(operation: str) -> tuple[str, str, Any]:
    """Short name, colour and dashes of an operation."""
    return LOOKS.get(operation, (operation, QUIET, "-"))


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

    @property
    def collapsed(self) -> bool:
        """Whether few of its operations have weights to learn."""
        return self.weightless >= cell_space.COLLAPSED

    def state(self, number: int) -> str:
        """A state in text: of two inputs c_{k-2} and c_{k-1}, all else by its number."""
        return ("c\u2096\u208b\u2082", "c\u2096\u208b\u2081")[number] if number < self.inputs == 2 else str(number)

    def formula(self, number: int) -> str:
        """The same as matplotlib sets it."""
        return f"$c_{{k-{2 - number}}}$" if number < self.inputs == 2 else str(number)

    def words(self, edge: Edge) -> str:
        """An edge into a node in words: sep 3\u00d73 from 0."""
        return f"{look(edge.operation)[0]} from {self.state(edge.source)}"


def empty_graph(space: cell_space.EdgeSpace, kind: str) -> Graph:
    """A type of cell of a space, before anything is known of its edges."""
    nodes = tuple(dict.fromkeys(node for node, _ in space.edges))
    return Graph(kind, min(nodes), nodes, ())


def graphs(architecture: Architecture | None) -> dict[str, Graph]:
    """Type -> cell of a network; empty if it is not made of cells."""
    found = {}
    if isinstance(architecture, CellArchitecture):
        space, nodes = architecture.space, [node for node in cell_space.CONCAT for _ in range(2)]
        found = {
            kind: [Edge(*pair, node) for pair, node in zip(pairs, nodes, strict=True)]
            for kind, pairs in architecture.genotype.cells
        }
    elif isinstance(architecture, NASBench201Architecture):
        space, digits = nasbench201.EDGE_SPACE, map(int, architecture.code)
        ends = zip(digits, nasbench201.EDGES, strict=True)
        found = {"cell": [Edge(nasbench201.OPERATIONS[digit], *pair) for digit, pair in ends]}
    return {kind: empty_graph(space, kind)._replace(edges=tuple(edges)) for kind, edges in found.items()}


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
        resolution: height and width of its output in pixels.
    """

    name: str
    kind: str
    stage: int
    width: int
    options: tuple[int, ...]
    stride: int
    expansion: int | None
    resolution: tuple[int, int]

    @property
    def most(self) -> int:
        """The widest it could have been."""
        return max(self.width, *self.options, 0)


def blocks(architecture: Architecture | None) -> Sequence[Block]:
    """The blocks of a network from image to classes; empty for cells of NAS-Bench-201, which are all alike."""
    if isinstance(architecture, WidthArchitecture):
        _, *sizes = width_space.resolutions(architecture.space, architecture.image_shape)
        return [
            Block(block.name, "", block.stage, width, block.options, block.stride, block.expansion, size)
            for block, width, size in zip(architecture.space.blocks, architecture.widths, sizes, strict=True)
        ]
    if not isinstance(architecture, CellArchitecture):
        return []
    space, count = architecture.space, architecture.cells
    widths = space.widths(count, architecture.channels, architecture.width_ratio)
    found, reductions = [], 0
    for number, (kind, width) in enumerate(zip(space.placement(count), widths, strict=True)):
        stride = 2 if kind == "reduce" else 1
        reductions += stride - 1
        height, wide = (-(-side // 2**reductions) for side in architecture.image_shape[:2])
        found.append(Block(f"cell{number}", kind, reductions + 1, width, (), stride, None, (height, wide)))
    return found
