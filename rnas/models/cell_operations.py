"""Preprocessing of a cell's inputs, and the operations on its edges (DARTS, DSARA)."""

from collections.abc import Callable

import flax.linen as nn
import jax

from rnas.layers import FactorizedReduction, SeparableConv, average_pool, max_pool

Make = Callable[..., nn.Module]

POOLS = {"max_pool_3x3": max_pool, "avg_pool_3x3": average_pool}
# (side of the depthwise kernel, its dilation, how often in a row) of the operations that convolve.
CONVOLUTIONS = {
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}


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
