"""What a search by mixtures needs of a space: an operation on every edge, its logits and their probabilities."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # imported late, so that queries to the table answer without it
    import jax


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
