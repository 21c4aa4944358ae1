"""Cells of the stacked networks: of a genotype, and of the supernet; their inputs and operations (DARTS, DSARA).

`conv` and `norm` make a convolution and a batch normalisation.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas.layers import FactorizedReduction, SeparableConv, average_pool, drop_path, max_pool
from rnas.models.image_classifier import Make
from rnas.spaces.cell_space import CONCAT, CONVOLUTIONS, EDGES, FIRST, NO_OPERATION, Edge

DropPath = tuple[jax.Array, jax.Array | float]  # keys [N], rate

POOLS = {"max_pool_3x3": max_pool, "avg_pool_3x3": average_pool}
FROM_INPUTS = np.array([[EDGES.index((node, source)) for node in CONCAT] for source in range(FIRST)])
# The edges (node, source) between the nodes, two a step. When an edge is due its source has all that arrives there;
# the last edge of node 2 waits, so that all steps are alike.
LATER = (((3, 2), (4, 2)), ((4, 3), (5, 3)), ((5, 4), (5, 2)))


class Preprocess(nn.Module):
    """ReLU, 1x1 convolution and batch normalisation of a cell's input; a factorised reduction where it is to shrink.

    Attributes:
      features: channels of the result.
      halve: whether the input is twice as large as the cell's other one.
    """

    features: int
    halve: bool
    conv: Make
    norm: Make

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the state [N, h, w, features] from `x` [N, H, W, C]."""
        x = nn.relu(x)
        if self.halve:
            return FactorizedReduction(self.features, self.conv, self.norm, name="reduction")(x, train=train)
        return self.norm(name="bn")(self.conv(self.features, 1, name="conv")(x), train=train)


class Candidate(nn.Module):
    """An operation that has parameters: a convolution, or the skip connection of stride 2.

    Attributes:
      operation: its name.
      stride: 1 or 2.
    """

    operation: str
    stride: int
    conv: Make
    norm: Make

    @nn.compact
    def __call__(self, active: jax.Array, *, train: bool) -> jax.Array:
        """Returns the operation [..., h, w, C] of a state that has gone through ReLU, `active` [..., H, W, C]."""
        features = active.shape[-1]
        if self.operation == "skip_connect":
            return FactorizedReduction(features, self.conv, self.norm, name="reduction")(active, train=train)
        side, dilation, times = CONVOLUTIONS[self.operation]
        x = active
        for i in range(times):
            x, stride = (nn.relu(x), 1) if i else (x, self.stride)
            part = SeparableConv(features, side, stride, dilation, self.conv, self.norm, name=f"part{i}")
            x = part(x, train=train)
        return x


class Operation(Candidate):
    """An operation on an edge of a fixed network."""

    @nn.compact
    def __call__(self, state: jax.Array, *, train: bool) -> jax.Array:
        """Returns the operation [N, h, w, C] of `state` [N, H, W, C]."""
        if self.operation in POOLS:
            return POOLS[self.operation](state, self.stride)
        if self.is_identity:
            return state
        candidate = Candidate(self.operation, self.stride, self.conv, self.norm, name=self.operation)
        return candidate(nn.relu(state), train=train)

    @property
    def is_identity(self) -> bool:
        return self.operation == "skip_connect" and self.stride == 1


class MixedEdges(nn.Module):
    """All operations on all edges that leave some states, of one stride: Σ_o p_o · o(x) for every edge.

    Convolutions of one kind are carried out side by side for all edges, [states · edges, N, H, W, C], and what has
    no parameters, which gives every edge of a state the same, once for the state.

    Attributes:
      operations: names of the candidates, by index.
      stride: of all of them.
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


class TwoInputCell(nn.Module, kw_only=True):
    """Base of the cells, which map the outputs of the two cells before them to their nodes, [N, h, w, C] each.

    Attributes:
      features: channels C of every state.
      stride: of the edges that leave the two inputs.
      halve: whether the earlier input is twice as large as the later one.
    """

    features: int
    stride: int
    halve: bool
    conv: Make
    norm: Make

    def inputs(self, earlier: jax.Array, later: jax.Array, *, train: bool) -> list[jax.Array]:
        """Returns the input states [N, H, W, C], from the cell before the last, and from the last."""
        return [
            Preprocess(self.features, halve, self.conv, self.norm, name=f"preprocess{index}")(x, train=train)
            for index, (halve, x) in enumerate([(self.halve, earlier), (False, later)])
        ]


class FixedCell(TwoInputCell, kw_only=True):
    """A cell of a genotype.

    Attributes:
      edges: (operation, source) of the two edges of each node, node by node.
    """

    edges: tuple[Edge, ...]

    @nn.compact
    def __call__(self, earlier: jax.Array, later: jax.Array, drop: DropPath | None, *, train: bool) -> list[jax.Array]:
        """Returns the nodes; `drop` has keys [N] and the rate of dropping an edge."""
        states: list[Any] = self.inputs(earlier, later, train=train)
        arrived: list[Any] = []
        for index, (name, source) in enumerate(self.edges):
            stride = self.stride if source < FIRST else 1
            operation = Operation(name, stride, self.conv, self.norm, name=f"edge{index}")
            x = operation(states[source], train=train)
            if drop is not None and not operation.is_identity:
                keys, rate = drop
                x = drop_path(x, jax.vmap(jax.random.fold_in, (0, None))(keys, index), rate)
            arrived.append(x)
            if len(arrived) == 2:
                states.append(sum(arrived))
                arrived = []
        return states[FIRST:]


class MixedCell(TwoInputCell, kw_only=True):
    """A cell of the supernet: on every edge the mixture of all operations.

    The eight edges that leave the inputs are computed at once, the six between the nodes two by two in a scan: a
    program, which takes minutes to compile, has each operation twice a cell and not fourteen times.

    Attributes:
      operations: names of the candidates, by index.
    """

    operations: tuple[str, ...]

    @nn.compact
    def __call__(
        self, earlier: jax.Array, later: jax.Array, probabilities: jax.Array, *, train: bool
    ) -> list[jax.Array]:
        """Returns the nodes; `probabilities` are [edges, operations]."""
        states = jnp.stack(self.inputs(earlier, later, train=train))
        inputs = MixedEdges(self.operations, self.stride, self.conv, self.norm, name="inputs")
        mixed = inputs(states, probabilities[FROM_INPUTS], train=train)
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
        nodes, _ = scan(MixedEdges(self.operations, 1, self.conv, self.norm, name="later"), nodes, pairs)
        return [jnp.squeeze(node, 0) for node in jnp.split(nodes, len(CONCAT))]
