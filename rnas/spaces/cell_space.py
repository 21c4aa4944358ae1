"""Cell spaces of DARTS and of DSARA / ARNAS: edges, stacking, discretisation and genotypes.

A network is a stack of cells, and all cells of a type share one architecture. DARTS (arXiv 1806.09055) has two types of
cell and doubles the channels at both reductions; DSARA (arXiv 2212.14049) and ARNAS (arXiv 2405.05502) have accurate
cells near the input, robust cells near the output, and double the channels once. The networks are in
`rnas.models.cell_network`; the cells of NAS-Bench-201 are in `rnas.spaces.nasbench201`.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.spaces.registry import Registry

if TYPE_CHECKING:  # imported late, so that queries to the table answer without it
    import jax

MOST_CELLS = 1000  # of a network: a number beyond is a mistake
NODES = 4  # intermediate nodes of a cell, numbered from 2; 0 and 1 are the outputs of the two cells before
FIRST = 2
CONCAT = tuple(range(FIRST, FIRST + NODES))
EDGES = tuple((node, source) for node in CONCAT for source in range(node))  # (node, source), sources ascending

WITHOUT_KERNEL = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
# (side of the depthwise kernel, its dilation, how often in a row) of the operations that convolve.
CONVOLUTIONS = {
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}
OPERATIONS = (*WITHOUT_KERNEL, *CONVOLUTIONS)
STEM = 3  # channels of the stem, as a multiple of those of the first cell
NO_OPERATION = "none"
COLLAPSED = 6  # kept operations without a kernel, of 8, from which on a cell counts as collapsed

Edge = tuple[str, int]  # operation and source


@dataclasses.dataclass(frozen=True)
class EdgeSpace:
    """What a search by mixtures chooses from: an operation on every edge of every type of cell.

    Attributes:
      name: of the space.
      operations: candidates on every edge, in the order of their index.
      types: of cells.
      edges: (node, source) of every edge, in the order of the rows of the logits.
    """

    name: str
    operations: tuple[str, ...]
    types: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    def check(self, probabilities: Mapping[str, jax.Array]) -> None:
        """Raises ValueError where `probabilities` (or logits) are not one array [edges, operations] per type."""
        expected = {name: (len(self.edges), len(self.operations)) for name in self.types}
        shapes = {name: np.shape(rows) for name, rows in probabilities.items()}
        if shapes != expected:
            raise ValueError(f"space {self.name!r} takes per type of cell an array of shape {expected}, got {shapes}.")


def initial_logits(space: EdgeSpace, key: jax.Array) -> dict[str, jax.Array]:
    """Returns α, per type [edges, operations], drawn from 0.001·N(0, 1): every operation about equally likely."""
    import jax

    shape = (len(space.edges), len(space.operations))
    keys = jax.random.split(key, len(space.types))
    return {name: 1e-3 * jax.random.normal(key, shape) for name, key in zip(space.types, keys, strict=True)}


def probabilities(logits: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the softmax over operations of every edge, per type [edges, operations]."""
    import jax

    return {name: jax.nn.softmax(alpha, axis=-1) for name, alpha in logits.items()}


# -- stacking --------------------------------------------------------------------------------------------


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
        """Returns the indices of the two reductions among `cells`; raises ValueError for less than 3, or too many."""
        if cells < 3:
            raise ValueError(f"a network needs two reductions and a cell before them, at least 3 cells; got {cells}.")
        if cells > MOST_CELLS:
            raise ValueError(f"a network of {cells} cells; expected at most {MOST_CELLS}.")
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
        self.reductions(cells)  # refuses what is no number of cells
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


SPACES: Registry[CellSpace] = Registry("cell")
register, get_space = SPACES.register, SPACES.get_space

register(CellSpace("dsara", OPERATIONS, ("accurate", "reduce", "robust"), EDGES, (1, 2, 2)))
register(CellSpace("darts", (NO_OPERATION, *OPERATIONS), ("normal", "reduce"), EDGES, (1, 2, 4)))

# -- genotypes -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Genotype:
    """The outcome of a search: two edges into every node of every type of cell.

    Attributes:
      space: name of the space.
      cells: (type, edges) in the order of the space's types; edges are (operation, source), two per node, node by
        node, the stronger first.
      concat: nodes whose concatenation is the output of a cell.

    Raises:
      ValueError: if it is no genotype of its space; the message names the place.
    """

    space: str
    cells: tuple[tuple[str, tuple[Edge, ...]], ...]
    concat: tuple[int, ...] = CONCAT

    def __post_init__(self):
        space = get_space(self.space)
        kinds = tuple(kind for kind, _ in self.cells)
        if kinds != space.types:
            raise ValueError(
                f"space {space.name!r} has cells {', '.join(space.types)}, in this order; got {', '.join(kinds)}."
            )
        for kind, edges in self.cells:
            _check_edges(space, kind, edges)
        if self.concat != CONCAT:
            raise ValueError(f"a cell's output is the concatenation of nodes {CONCAT}, got concat={self.concat!r}.")

    def edges(self, kind: str) -> tuple[Edge, ...]:
        """Returns the edges of the cells of that type."""
        return dict(self.cells)[kind]

    def to_json(self) -> dict[str, Any]:
        """Returns {"space": name, type: [[operation, source], ...] for every type, "concat": nodes}."""
        cells = {kind: [list(edge) for edge in edges] for kind, edges in self.cells}
        return {"space": self.space, **cells, "concat": list(self.concat)}

    @classmethod
    def from_json(cls, content: Any, where: str = "genotype") -> Genotype:
        """Returns the genotype that `to_json` gave; raises ValueError, beginning with `where`, for anything else."""
        try:
            if not isinstance(content, Mapping) or "space" not in content:
                raise ValueError('expected an object with "space", a list of edges per type of cell, and "concat".')
            space = get_space(content["space"])
            expected = ("space", *space.types, "concat")
            if set(content) != set(expected):
                raise ValueError(
                    f"a genotype of space {space.name!r} has the keys {', '.join(expected)}; got {', '.join(content)}."
                )
            return _genotype(space, content, content["concat"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _allowed(space: CellSpace) -> list[str]:
    return [name for name in space.operations if name != NO_OPERATION]


def _check_edges(space: CellSpace, kind: str, edges: tuple[Edge, ...]) -> None:
    """Raises ValueError where `edges` are not those of a cell."""
    allowed = _allowed(space)
    if len(edges) != 2 * NODES:
        raise ValueError(f"cell {kind!r} has {len(edges)} edges; it needs two for each of its {NODES} nodes.")
    for index, (operation, source) in enumerate(edges):
        node = FIRST + index // 2
        place = f"node {node} of cell {kind!r}"
        if operation not in allowed:
            raise ValueError(f"{place} has the operation {operation!r}; expected one of {', '.join(allowed)}.")
        if type(source) is not int or not 0 <= source < node:
            raise ValueError(f"{place} has the source {source!r}; expected a whole number from 0 to {node - 1}.")
        if index % 2 and source == edges[index - 1][1]:
            raise ValueError(f"{place} has two edges from {source}; expected two different sources.")


def _genotype(space: CellSpace, cells: Mapping[str, Any], concat: Any) -> Genotype:
    """Returns the genotype with the lists of edges that `cells` has for the types of `space`."""
    found = []
    for kind in space.types:
        try:
            found.append((kind, tuple((operation, source) for operation, source in cells[kind])))
        except (TypeError, ValueError) as error:
            raise ValueError(f"cell {kind!r} is not a list of pairs [operation, source]: {cells[kind]!r}.") from error
    try:
        return Genotype(space.name, tuple(found), tuple(concat))
    except TypeError as error:
        raise ValueError(f"concat is not a list of nodes: {concat!r}.") from error


def from_dsara_names(content: Mapping[str, Any], where: str = "genotype") -> Genotype:
    """Returns the genotype that the code of DSARA writes in names of its own.

    There `robust` cells stand near the input and `normal` ones near the output: here they are accurate and robust,
    the names of ARNAS.

    Args:
      content: lists of (operation, source) under `normal`, `reduce` and `robust`, and the nodes of their outputs
        under `normal_concat`, `reduce_concat` and `robust_concat`.
      where: it was read from; the message of a ValueError begins with it.
    """
    names = {"accurate": "robust", "reduce": "reduce", "robust": "normal"}
    try:
        expected = [key for name in names.values() for key in (name, f"{name}_concat")]
        if set(content) != set(expected):
            raise ValueError(f"a genotype of DSARA has {', '.join(expected)}; got {', '.join(content)}.")
        for key in expected[1::2]:
            if tuple(content[key]) != CONCAT:
                raise ValueError(f"{key} is {content[key]!r}, not the nodes {CONCAT}.")
        return _genotype(get_space("dsara"), {kind: content[name] for kind, name in names.items()}, CONCAT)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def discretise(space: CellSpace, probabilities: Mapping[str, jax.Array]) -> Genotype:
    """Returns the genotype that a search found (DARTS, arXiv 1806.09055, section 2.4).

    Each node keeps the two incoming edges whose most probable operation is the most probable, and of each this
    operation. `none` takes no part. Of equals the lower source and the lower index win.

    Args:
      space: that was searched.
      probabilities: per type of cell [edges, operations].

    Raises:
      ValueError: if probabilities are missing, have another shape, or are not numbers.
    """
    space.check(probabilities)
    allowed = [index for index, name in enumerate(space.operations) if name != NO_OPERATION]
    cells = []
    for kind in space.types:
        rows = np.asarray(probabilities[kind])[:, allowed]
        if np.isnan(rows).any():
            raise ValueError(f"the probabilities of cell {kind!r} contain NaN.")
        kept = []
        for node in CONCAT:
            incoming = rows[[edge for edge, (end, _) in enumerate(EDGES) if end == node]]
            for source in np.argsort(-incoming.max(1), kind="stable")[:2]:
                kept.append((space.operations[allowed[incoming[source].argmax()]], int(source)))
        cells.append((kind, tuple(kept)))
    return Genotype(space.name, tuple(cells))


def random_genotype(space: CellSpace, key: jax.Array | np.random.Generator) -> Genotype:
    """Returns a genotype whose pairs of sources and whose operations, but `none`, are all equally likely."""
    import jax

    generator = key if isinstance(key, np.random.Generator) else np.random.default_rng(jax.random.key_data(key))
    allowed = _allowed(space)

    def edges():
        for node in CONCAT:
            for source in generator.choice(node, 2, replace=False):
                yield allowed[generator.integers(len(allowed))], int(source)

    return Genotype(space.name, tuple((kind, tuple(edges())) for kind in space.types))


def macs(
    genotype: Genotype,
    *,
    image_shape: tuple[int, int, int],
    channels: int,
    cells: int,
    width_ratio: tuple[int, int, int] | None = None,
    num_classes: int = 10,
) -> int:
    """Multiply-accumulates of convolutions and classifier of the network of a genotype, for one image.

    Args:
      image_shape: height and width in pixels, even in every reduction, and channels.
      channels: C of the first cell.
      cells, width_ratio: as `CellSpace.widths` takes them.
    """
    space, edges = get_space(genotype.space), dict(genotype.cells)
    height, width, inputs = image_shape
    pixels, earlier = height * width, STEM * channels
    total, later = 9 * inputs * earlier * pixels, earlier
    for kind, features in zip(space.placement(cells), space.widths(cells, channels, width_ratio), strict=True):
        total += (earlier + later) * features * pixels  # both inputs, brought to the size of the later one
        if reduces := kind == "reduce":
            pixels //= 4
        for operation, source in edges[kind]:
            if operation in CONVOLUTIONS:
                side, _, times = CONVOLUTIONS[operation]
                total += times * (side**2 + features) * features * pixels
            elif operation == "skip_connect" and reduces and source < FIRST:
                total += features**2 * pixels
        earlier, later = later, NODES * features
    return total + later * num_classes


def with_another_operation(genotype: Genotype, generator: np.random.Generator) -> Genotype:
    """Returns the genotype with a new operation, drawn uniformly, on one of its edges, drawn likewise."""
    allowed = _allowed(get_space(genotype.space))
    cells = {kind: list(edges) for kind, edges in genotype.cells}
    edges = cells[list(cells)[generator.integers(len(cells))]]
    place = int(generator.integers(len(edges)))
    edges[place] = (allowed[generator.integers(len(allowed))], edges[place][1])
    return Genotype(genotype.space, tuple((kind, tuple(edges)) for kind, edges in cells.items()))


def collapsed(genotype: Genotype) -> tuple[str, ...]:
    """Returns the types of cell that have hardly a convolution: at least six pools or skip connections of eight."""
    return tuple(
        kind
        for kind, edges in genotype.cells
        if sum(operation in WITHOUT_KERNEL for operation, _ in edges) >= COLLAPSED
    )


# -- genotypes as their papers print them ----------------------------------------------------------------


def _published(space: str, **cells: str) -> Genotype:
    """Returns a genotype from its edges in short, such as 's3(1) s3(0)'."""
    short = dict(zip(("mp", "ap", "sk", "s3", "s5", "d3", "d5"), OPERATIONS, strict=True))
    return Genotype(
        space, tuple((kind, tuple((short[e[:2]], int(e[3])) for e in row.split())) for kind, row in cells.items())
    )


PUBLISHED: dict[str, Genotype] = {
    "dsara": _published(
        "dsara",
        accurate="sk(0) sk(1)  s5(0) s3(1)  s5(3) s3(1)  s5(4) sk(0)",
        reduce="ap(1) ap(0)  d5(2) ap(0)  d5(3) d5(2)  d5(4) d5(3)",
        robust="d5(0) d5(1)  d5(1) d5(2)  d3(3) d5(2)  d3(4) d3(3)",
    ),
    "darts_v2": _published(
        "darts",
        normal="s3(0) s3(1)  s3(0) s3(1)  s3(1) sk(0)  sk(0) d3(2)",
        reduce="mp(0) mp(1)  sk(2) mp(1)  mp(0) sk(2)  sk(2) mp(1)",
    ),
    # Chen et al. 2019, arXiv 1904.12760
    "pdarts": _published(
        "darts",
        normal="sk(0) d3(1)  sk(0) s3(1)  s3(1) s3(3)  s3(0) d5(4)",
        reduce="ap(0) s5(1)  s3(0) d5(2)  mp(0) d3(1)  d3(1) d5(3)",
    ),
    # Dong et al. 2020, arXiv 2009.00902
    "racl": _published(
        "darts",
        normal="s3(0) s3(1)  s5(0) sk(1)  s3(0) sk(3)  s3(3) sk(4)",
        reduce="s3(0) s5(1)  ap(0) d3(1)  s3(0) s5(1)  s3(2) d3(3)",
    ),
    # Mok et al. 2021, arXiv 2108.01289
    "advrush": _published(
        "darts",
        normal="s3(1) s3(0)  s5(0) s3(1)  s3(1) s3(0)  sk(0) s3(1)",
        reduce="s3(0) s3(1)  sk(0) d3(2)  sk(0) ap(1)  sk(0) sk(2)",
    ),
}
PUBLISHED["arnas"] = PUBLISHED["dsara"]  # the two papers publish the same one


def get_genotype(name: str) -> Genotype:
    """Returns the published genotype called `name`; raises ValueError naming the known ones."""
    if name not in PUBLISHED:
        raise ValueError(f"unknown genotype {name!r}; published ones: {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]
