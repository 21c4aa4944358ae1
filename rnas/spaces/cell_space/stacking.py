"""The spaces of DARTS and of DSARA: the edges of a cell, and how cells are stacked.

All cells of a type share one architecture. DARTS (arXiv 1806.09055) has two types of cell and doubles the channels at
both reductions; DSARA (arXiv 2212.14049) and ARNAS (arXiv 2405.05502) have accurate cells near the input, robust cells
near the output, and double the channels once.
"""

import dataclasses

from rnas.spaces.cell_space.edge_space import EdgeSpace

NODES = 4  # intermediate nodes of a cell, numbered from 2; 0 and 1 are the outputs of the two cells before
FIRST = 2
CONCAT = tuple(range(FIRST, FIRST + NODES))

# (node, source) of every edge, node by node, sources ascending.
EDGES = tuple((node, source) for node in CONCAT for source in range(node))

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NO_OPERATION = "none"


@dataclasses.dataclass(frozen=True)
class CellSpace(EdgeSpace):
    """A space of cells and how they are stacked.

    Of its types 'reduce' halves the images, the first of the others stands before the second reduction, the last of the
    others after it.

    Attributes:
      width_ratio: channels up to the first reduction, from it on, and from the second on, as multiples.
    """

    width_ratio: tuple[int, int, int]

    def reductions(self, cells: int) -> tuple[int, int]:
        """Returns the indices of the two reductions among `cells`.

        Raises:
          ValueError: if there are fewer than three cells.
        """
        if cells < 3:
            raise ValueError(f"a network needs two reductions and a cell before them, at least 3 cells; got {cells}.")
        return cells // 3, 2 * cells // 3

    def placement(self, cells: int) -> tuple[str, ...]:
        """Returns the type of each cell, from the input to the output."""
        first, second = self.reductions(cells)
        plain = [name for name in self.types if name != "reduce"]
        return tuple("reduce" if i in (first, second) else plain[0] if i < second else plain[-1] for i in range(cells))

    def widths(self, cells: int, channels: int, width_ratio: tuple[int, int, int] | None = None) -> tuple[int, ...]:
        """Returns the channels C of each cell; its output has four times as many.

        Args:
          cells: number of cells.
          channels: C of the first cell.
          width_ratio: in place of that of the space.
        """
        first, second = self.reductions(cells)
        before, between, after = width_ratio or self.width_ratio
        return tuple(channels * (before if i < first else between if i < second else after) for i in range(cells))

    def taps(self, cells: int) -> tuple[str, ...]:
        """Names of the intermediate outputs of a network of this space, in forward order."""
        return ("stem", *(f"cell{i}.node{node}" for i in range(cells) for node in CONCAT))

    def places(self, many: int, few: int) -> tuple[int, ...]:
        """Returns for each cell of a network of `many` cells the one at its place in a network of `few`.

        Reductions stand for each other; the cells before, between and after them are shared out evenly. A part that is
        empty in the smaller network is stood for by the reduction before it.
        """

        def parts(cells: int) -> list[range]:
            first, second = self.reductions(cells)
            marks = (0, first, first + 1, second, second + 1, cells)
            return [range(start, end) for start, end in zip(marks, marks[1:], strict=False)]

        found = []
        for wide, narrow in zip(parts(many), parts(few), strict=True):
            rows = list(narrow) or [found[-1]]
            found += [rows[place * len(rows) // len(wide)] for place in range(len(wide))]
        return tuple(found)


SPACES: dict[str, CellSpace] = {}


def register(space: CellSpace) -> CellSpace:
    """Adds a space to `SPACES`, under its name.

    Raises:
      ValueError: the name belongs to another space.
    """
    if SPACES.setdefault(space.name, space) != space:
        raise ValueError(f"a cell space {space.name!r} exists already; choose another name.")
    return space


register(CellSpace("dsara", OPERATIONS, ("accurate", "reduce", "robust"), EDGES, (1, 2, 2)))
register(CellSpace("darts", (NO_OPERATION, *OPERATIONS), ("normal", "reduce"), EDGES, (1, 2, 4)))


def get_space(name: str) -> CellSpace:
    """Returns the space called `name`; raises ValueError naming the known ones."""
    if name not in SPACES:
        raise ValueError(f"unknown space {name!r}; known spaces: {', '.join(SPACES)}.")
    return SPACES[name]
