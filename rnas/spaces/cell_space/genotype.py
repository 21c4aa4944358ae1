"""The outcome of a cell search: its form, its discretisation, and genotypes drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.spaces.cell_space.stacking import CONCAT, EDGES, FIRST, NO_OPERATION, NODES, CellSpace, get_space

if TYPE_CHECKING:  # imported late, so that queries to the table answer without it
    import jax

WITHOUT_KERNEL = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
COLLAPSED = 6  # kept operations without a kernel, of 8, from which on a cell counts as collapsed

Edge = tuple[str, int]  # operation and source


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
        """Returns the genotype that `to_json` gave.

        Args:
          content: what was read.
          where: it was read from, a file for one; messages name it.

        Raises:
          ValueError: if it is not what `to_json` gives for a genotype of a known space.
        """
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


def _check_edges(space: CellSpace, kind: str, edges: tuple[Edge, ...]) -> None:
    """Raises ValueError where `edges` are not those of a cell."""
    allowed = [name for name in space.operations if name != NO_OPERATION]
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
      where: it was read from; messages name it.

    Raises:
      ValueError: if it is no genotype; the message names place and reason.
    """
    names = {"accurate": "robust", "reduce": "reduce", "robust": "normal"}
    try:
        expected = [key for name in names.values() for key in (name, f"{name}_concat")]
        if set(content) != set(expected):
            raise ValueError(f"a genotype of DSARA has {', '.join(expected)}; got {', '.join(content)}.")
        for name in names.values():
            if tuple(content[f"{name}_concat"]) != CONCAT:
                raise ValueError(f"{name}_concat is {content[f'{name}_concat']!r}, not the nodes {CONCAT}.")
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
    """Returns a genotype whose pairs of sources and whose operations, but `none`, are all equally likely.

    Args:
      space: to draw from.
      key: a random key of JAX, or a generator of NumPy.
    """
    import jax

    generator = key if isinstance(key, np.random.Generator) else np.random.default_rng(jax.random.key_data(key))
    allowed = [name for name in space.operations if name != NO_OPERATION]

    def edges():
        for node in CONCAT:
            for source in generator.choice(node, 2, replace=False):
                yield allowed[generator.integers(len(allowed))], int(source)

    return Genotype(space.name, tuple((kind, tuple(edges())) for kind in space.types))


def collapsed(genotype: Genotype) -> tuple[str, ...]:
    """Returns the types of cell that have hardly a convolution: at least six pools or skip connections of eight."""
    return tuple(
        kind
        for kind, edges in genotype.cells
        if sum(operation in WITHOUT_KERNEL for operation, _ in edges) >= COLLAPSED
    )
