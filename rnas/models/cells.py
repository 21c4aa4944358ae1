"""Networks of the cell spaces: the supernet of a search, and the network of a genotype.

A cell has two input states, the outputs of the two cells before it, each brought to C channels by ReLU, 1x1
convolution and batch normalisation. Each of its four nodes sums operations on earlier states, and their
concatenation is its output (DARTS, arXiv 1806.09055; DSARA, arXiv 2212.14049).
"""

from collections.abc import Callable, Mapping
import functools
import math
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas.layers import (
    BatchNorm,
    Conv,
    FactorizedReduction,
    Normalize,
    SeparableConv,
    average_pool,
    drop_path,
    max_pool,
)
from rnas.spaces.cells import CONCAT, EDGES, FIRST, NO_OPERATION, CellSpace, Edge, Genotype, get_space

Make = Callable[..., nn.Module]
DropPath = tuple[jax.Array, jax.Array | float]

STEM = 3  # channels of the stem, as a multiple of those of the first cell
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # U(±1/√fan_in), PyTorch's default
POOLS = {"max_pool_3x3": max_pool, "avg_pool_3x3": average_pool}
# (side of the depthwise kernel, its dilation, how often in a row) of the operations that convolve.
CONVOLUTIONS = {
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}
FROM_INPUTS = np.array([[EDGES.index((node, source)) for node in CONCAT] for source in range(FIRST)])
# The edges (node, source) between the nodes, two a step. When an edge is due its source has all that arrives there;
# the last edge of node 2 waits, so that all steps are alike.
LATER = (((3, 2), (4, 2)), ((4, 3), (5, 3)), ((5, 4), (5, 2)))


def classify(x: jax.Array, num_classes: int) -> jax.Array:
    """Returns logits [N, num_classes], float32, of `x` [N, H, W, C]: its mean over the image, and a dense layer."""
    pooled = x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
    reach = 1.0 / math.sqrt(x.shape[-1])

    def bias(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -reach, reach)

    return nn.Dense(num_classes, kernel_init=UNIFORM, bias_init=bias, name="classifier")(pooled)


class Preprocess(nn.Module):
    """ReLU, 1x1 convolution and batch normalisation of a cell's input; a factorised reduction where it is to shrink.

    Attributes:
      features: channels of the result.
      halve: whether the input is twice as large as the cell's other one.
      conv: makes a convolution.
      norm: makes a batch normalisation.
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
      conv: makes a convolution.
      norm: makes a batch normalisation.
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
        total = sum(share[:, :, index] * x for index, x in own.items())
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


class Operation(nn.Module):
    """An operation on an edge of a fixed network.

    Attributes:
      operation: its name.
      stride: 1 or 2.
      conv: makes a convolution.
      norm: makes a batch normalisation.
    """

    operation: str
    stride: int
    conv: Make
    norm: Make

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
        arrived = []
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


class AuxiliaryHead(nn.Module):
    """A second classifier, after the second reduction, that helps training and is gone afterwards (DARTS).

    Its last convolution covers all that pooling leaves of the image: 2x2 pixels of 8x8, 4x4 of 16x16.

    Attributes:
      num_classes: length of the logits.
      conv: makes a convolution.
      norm: makes a batch normalisation.
    """

    num_classes: int
    conv: Make
    norm: Make

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [N, num_classes], float32, from `x` [N, H, H, C].

        Raises:
          ValueError: if the images are not square or smaller than 8x8.
        """
        height, width = x.shape[1:3]
        if height != width or height < 8:
            raise ValueError(
                f"the auxiliary head needs square images, 8x8 at least after the second reduction, got "
                f"{height}x{width}; use images of 32x32 or more, or auxiliary=False."
            )
        x = average_pool(nn.relu(x), 3, size=5, padding=0)
        x = nn.relu(self.norm(name="bn0")(self.conv(128, 1, name="conv0")(x), train=train))
        x = self.conv(768, x.shape[1], padding="VALID", name="conv1")(x)
        return classify(nn.relu(self.norm(name="bn1")(x, train=train)), self.num_classes)


class CellStack(nn.Module, kw_only=True):
    """What supernet and fixed network share: a stem, cells, and a classifier.

    Attributes:
      cells: number of cells.
      channels: C of the first cell.
      num_classes: length of the logits.
      mean: of the pixels in [0, 1], per channel.
      std: of the pixels in [0, 1], per channel.
      width_ratio: channels up to the first reduction, from it on, and from the second on; None is the space's.
      momentum: share of the old running statistics that is kept.
      dtype: of the computation; parameters, statistics, pooling and logits are float32.
      axis_name: mapped axis over which batch statistics are averaged.
    """

    cells: int
    channels: int
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    width_ratio: tuple[int, int, int] | None = None
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = None

    @property
    def cell_space(self) -> CellSpace:
        """Space whose placement and widths the cells have."""
        raise NotImplementedError

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the intermediate outputs, in forward order."""
        return self.cell_space.taps(self.cells)

    @property
    def conv(self) -> Make:
        """Makes a convolution of this network."""
        return functools.partial(Conv, dtype=self.dtype, kernel_init=UNIFORM)

    @property
    def norm(self) -> Make:
        """Makes a batch normalisation of this network."""
        return functools.partial(BatchNorm, self.momentum, dtype=self.dtype, axis_name=self.axis_name)

    def trunk(
        self, images: jax.Array, cell: Callable[..., list[jax.Array]], *, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits [N, num_classes], float32, and every tap [N, h, w, c] by name.

        Args:
          images: [N, H, W, C] in [0, 1].
          cell: (type, attributes of the cell, outputs of the two cells before it) -> nodes.
          train: whether batch statistics normalise, instead of the running ones.
        """
        space = self.cell_space
        x = Normalize(self.mean, self.std)(images)
        x = self.norm(name="stem_bn")(self.conv(STEM * self.channels, name="stem_conv")(x), train=train)
        out = {"stem": x}
        earlier, later, halve = x, x, False
        widths = space.widths(self.cells, self.channels, self.width_ratio)
        for index, (kind, features) in enumerate(zip(space.placement(self.cells), widths, strict=True)):
            name, stride = f"cell{index}", 2 if kind == "reduce" else 1
            nodes = cell(kind, dict(features=features, stride=stride, halve=halve, name=name), earlier, later)
            out |= {f"{name}.node{node}": x for node, x in zip(CONCAT, nodes, strict=True)}
            earlier, later, halve = later, jnp.concatenate(nodes, -1), kind == "reduce"
        return classify(later, self.num_classes), out


class CellSupernet(CellStack, kw_only=True):
    """The network of a search: on every edge the mixture of all operations (DARTS, arXiv 1806.09055, eq. 2).

    Attributes:
      space: of the cells.
    """

    space: CellSpace

    @property
    def cell_space(self) -> CellSpace:
        return self.space

    @nn.compact
    def __call__(
        self, images: jax.Array, probabilities: Mapping[str, jax.Array], *, train: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits [N, num_classes], float32, and every tap [N, h, w, c] by name.

        Args:
          images: [N, H, W, C] in [0, 1].
          probabilities: weights of the operations on every edge, per type of cell [edges, operations].
          train: whether batch statistics normalise, instead of the running ones.

        Raises:
          ValueError: if probabilities are missing or have another shape.
        """
        self.space.check(probabilities)
        norm = functools.partial(self.norm, use_affine=False)

        def cell(kind, attributes, earlier, later):
            mixed = MixedCell(self.space.operations, conv=self.conv, norm=norm, **attributes)
            return mixed(earlier, later, probabilities[kind], train=train)

        return self.trunk(images, cell, train=train)


class CellNetwork(CellStack, kw_only=True):
    """The network of a genotype.

    Attributes:
      genotype: operations and sources of every type of cell.
      auxiliary: whether a second classifier stands after the second reduction.
    """

    genotype: Genotype
    auxiliary: bool = False

    @property
    def cell_space(self) -> CellSpace:
        return get_space(self.genotype.space)

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, drop_path: DropPath | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits [N, num_classes], float32, and every tap [N, h, w, c] by name.

        Args:
          images: [N, H, W, C] in [0, 1].
          train: whether batch statistics normalise, instead of the running ones. With `auxiliary`, the second
            result then has the logits of the second classifier as well, under "auxiliary".
          drop_path: keys [N] and the rate at which edges other than identities are dropped, each for itself and
            for every example by itself; in training only.
        """
        if not train:
            drop_path = None

        def cell(kind, attributes, earlier, later):
            fixed = FixedCell(self.genotype.edges(kind), conv=self.conv, norm=self.norm, **attributes)
            return fixed(earlier, later, drop_path, train=train)

        logits, out = self.trunk(images, cell, train=train)
        if self.auxiliary and (train or self.is_initializing()):
            second = self.cell_space.reductions(self.cells)[1]
            x = jnp.concatenate([out[f"cell{second}.node{node}"] for node in CONCAT], -1)
            head = AuxiliaryHead(self.num_classes, self.conv, self.norm, name="auxiliary_head")
            out["auxiliary"] = head(x, train=train)
        return logits, out
