"""A cell of a genotype."""

from typing import Any

import flax.linen as nn
import jax

from rnas.layers import drop_path
from rnas.models.cell_operations import Make, Operation, Preprocess
from rnas.spaces.cell_space import FIRST, Edge

DropPath = tuple[jax.Array, jax.Array | float]  # keys [N], rate


class FixedCell(nn.Module):
    """A cell of a genotype.

    Attributes:
      edges: (operation, source) of the two edges of each node, node by node.
      features: channels C of every state.
      stride: of the edges that leave the two inputs.
      halve: whether the earlier input is twice as large as the later one.
      conv: makes a convolution.
      norm: makes a batch normalisation.
    """

    edges: tuple[Edge, ...]
    features: int
    stride: int
    halve: bool
    conv: Make
    norm: Make

    @nn.compact
    def __call__(self, earlier: jax.Array, later: jax.Array, drop: DropPath | None, *, train: bool) -> list[jax.Array]:
        """Returns the nodes, [N, h, w, C] each.

        Args:
          earlier: output of the cell before the last, [N, H', W', C'].
          later: output of the last cell, [N, H, W, C''].
          drop: keys [N] and rate of dropping an edge, or None.
          train: whether batch statistics normalise.
        """
        parts = (self.conv, self.norm)
        states = [
            Preprocess(self.features, self.halve, *parts, name="preprocess0")(earlier, train=train),
            Preprocess(self.features, False, *parts, name="preprocess1")(later, train=train),
        ]
        arrived: list[Any] = []
        for index, (name, source) in enumerate(self.edges):
            operation = Operation(name, self.stride if source < FIRST else 1, *parts, name=f"edge{index}")
            x = operation(states[source], train=train)
            if drop is not None and not operation.is_identity:
                keys, rate = drop
                x = drop_path(x, jax.vmap(jax.random.fold_in, (0, None))(keys, index), rate)
            arrived.append(x)
            if len(arrived) == 2:
                states.append(sum(arrived))
                arrived = []
        return states[FIRST:]
