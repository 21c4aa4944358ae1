"""A cell of the supernet: on every edge the mixture of all operations."""

import functools
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas.models.cell_operations import POOLS, Candidate, Make, Preprocess
from rnas.spaces.cell_space import CONCAT, EDGES, FIRST, NO_OPERATION

FROM_INPUTS = np.array([[EDGES.index((node, source)) for node in CONCAT] for source in range(FIRST)])
# The edges (node, source) between the nodes, two a step. When an edge is due its source has all that arrives there;
# the last edge of node 2 waits, so that all steps are alike.
LATER = (((3, 2), (4, 2)), ((4, 3), (5, 3)), ((5, 4), (5, 2)))


class MixedEdges(nn.Module):
    """All operations on all edges that leave some states, of one stride: Σ_o p_o · o(x) for every edge.

    Convolutions of one kind are carried out side by side for all edges, [states · edges, N, H, W, C], and what has
    no parameters, which gives every edge of a state the same, once for the state.

    Attributes:
      operations: names of the candidates, by index.
      stride: of all of them.
      conv: makes a convolution.
      norm: makes a batch normalisation.
    """

    operations: tuple[str, ...]
    stride: int
    conv: Make
    norm: Make

    @nn.compact
    def __call__(self, states: jax.Array, probabilities: jax.Array, *, train: bool) -> jax.Array:
        """Returns the mixtures [S, E, N, h, w, C].

        Args:
          states: [S, N, H, W, C].
          probabilities: of E edges of each state, [S, E, operations].
          train: whether batch statistics normalise.
        """
        sources, edges, _ = probabilities.shape
        branches = sources * edges
        # Not broadcast: a stack's transpose is a sum of arrays, on a CPU thirty times as fast as a sum along an axis.
        active = jnp.stack([nn.relu(states)] * edges, 1).reshape(branches, *states.shape[1:])
        make = [functools.partial(make, branches=branches) for make in (self.conv, self.norm)]
        shared, own = {}, {}
        for index, name in enumerate(self.operations):
            if name in POOLS:
                pooled = POOLS[name](states.reshape(-1, *states.shape[2:]), self.stride)
                pooled = pooled.reshape(sources, -1, *pooled.shape[1:])
                shared[index] = self.norm(branches=sources, name=name)(pooled, train=train)
            elif name == "skip_connect" and self.stride == 1:
                shared[index] = states
            elif name != NO_OPERATION:
                x = Candidate(name, self.stride, *make, name=name)(active, train=train)
                own[index] = x.reshape(sources, edges, *x.shape[1:])
        share = probabilities.reshape(*probabilities.shape, 1, 1, 1, 1)
        total: Any = sum(share[:, :, index] * x for index, x in own.items())
        if shared:
            # Edge by edge, for the same reason.
            mixtures = [sum(share[:, edge, index] * x for index, x in shared.items()) for edge in range(edges)]
            total += jnp.stack(mixtures, 1)
        return total.astype(states.dtype)


class MixedCell(nn.Module):
    """A cell of the supernet.

    The eight edges that leave the inputs are computed at once, the six between the nodes two by two in a scan: a
    program, which takes minutes to compile, has each operation twice a cell and not fourteen times.

    Attributes:
      operations: names of the candidates, by index.
      features: channels C of every state.
      stride: of the edges that leave the two inputs.
      halve: whether the earlier input is twice as large as the later one.
      conv: makes a convolution.
      norm: makes a batch normalisation.
    """

    operations: tuple[str, ...]
    features: int
    stride: int
    halve: bool
    conv: Make
    norm: Make

    @nn.compact
    def __call__(
        self, earlier: jax.Array, later: jax.Array, probabilities: jax.Array, *, train: bool
    ) -> list[jax.Array]:
        """Returns the nodes, [N, h, w, C] each.

        Args:
          earlier: output of the cell before the last, [N, H', W', C'].
          later: output of the last cell, [N, H, W, C''].
          probabilities: [edges, operations].
          train: whether batch statistics normalise.
        """
        parts = (self.conv, self.norm)
        first = Preprocess(self.features, self.halve, *parts, name="preprocess0")(earlier, train=train)
        second = Preprocess(self.features, False, *parts, name="preprocess1")(later, train=train)
        inputs = MixedEdges(self.operations, self.stride, *parts, name="inputs")
        mixed = inputs(jnp.stack([first, second]), probabilities[FROM_INPUTS], train=train)
        nodes = functools.reduce(jnp.add, (jnp.squeeze(x, 0) for x in jnp.split(mixed, FIRST)))  # [4, N, h, w, C]

        def step(edges: MixedEdges, nodes: jax.Array, pair: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            targets, sources, probabilities = pair
            states = jnp.stack([lax.dynamic_index_in_dim(nodes, source, keepdims=False) for source in sources])
            mixed = jnp.split(edges(states, probabilities[:, None], train=train), len(targets))
            for target, x in zip(targets, mixed, strict=True):
                x = x[0] + lax.dynamic_slice_in_dim(nodes, target, 1)
                nodes = lax.dynamic_update_slice_in_dim(nodes, x, target, 0)
            return nodes, None

        scan = nn.scan(
            step,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            check_constancy_invariants=False,  # which would trace a step twice
        )
        rows = np.array([[EDGES.index(edge) for edge in pair] for pair in LATER])
        pairs = *np.moveaxis(np.array(LATER) - FIRST, -1, 0), probabilities[rows]
        nodes, _ = scan(MixedEdges(self.operations, 1, *parts, name="later"), nodes, pairs)
        return [jnp.squeeze(node, 0) for node in jnp.split(nodes, len(CONCAT))]
