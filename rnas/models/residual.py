"""What residual networks share: a stem, blocks with taps, pooling and a dense layer.

Module names are those of the published PyTorch checkpoints, so that a parameter's path joined by dots is its
name there.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnas.layers import BatchNorm, Conv, Normalize


class ResidualNetwork(nn.Module, kw_only=True):
    """Base of the residual networks; subclasses define stem, blocks and end.

    Attributes:
      num_classes: length of the logits.
      mean: of the pixels in [0, 1], per channel.
      std: of the pixels in [0, 1], per channel.
      momentum: share of the old running statistics that is kept.
      dtype: of the computation; parameters, statistics, pooling and logits are float32.
      axis_name: mapped axis over which batch statistics are averaged.
    """

    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = None

    stem_tap = "conv1"
    block_taps: ClassVar[tuple[str, ...]] = ("conv1", "conv2")
    classifier = "linear"

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        """(name, base channels, stride) of every block in forward order."""
        raise NotImplementedError

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the intermediate outputs, in forward order."""
        return (self.stem_tap, *(f"{name}.{tap}" for name, _, _ in self.blocks for tap in self.block_taps))

    @property
    def conv(self) -> Callable[..., nn.Module]:
        """Makes a convolution of this network from its features, kernel size, stride and name."""
        return functools.partial(Conv, dtype=self.dtype)

    @property
    def norm(self) -> Callable[..., nn.Module]:
        """Makes a batch normalisation of this network from its name."""
        return functools.partial(BatchNorm, self.momentum, dtype=self.dtype, axis_name=self.axis_name)

    def stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the first tap, from the normalised images."""
        raise NotImplementedError

    def enter(self, x: jax.Array) -> jax.Array:
        """Returns what the first block gets, from the first tap."""
        return x

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        """Returns the block of that name, whose call gives its result and its taps."""
        raise NotImplementedError

    def end(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns what is pooled, from the last block's result."""
        del train
        return x

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits [N, num_classes], float32, and every tap [N, h, w, c] by name.

        Args:
          images: [N, H, W, C] in [0, 1].
          train: whether batch statistics normalise, instead of the running ones.
        """
        x = self.stem(Normalize(self.mean, self.std)(images), train=train)
        out = {self.stem_tap: x}
        x = self.enter(x)
        for name, features, stride in self.blocks:
            x, inner = self.block(name, features, stride)(x, train=train)
            out |= {f"{name}.{tap}": value for tap, value in inner.items()}
        x = self.end(x, train=train)
        pooled = x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
        return nn.Dense(self.num_classes, name=self.classifier)(pooled), out


def stages(names: Sequence[str], lengths: Sequence[int], widths: Sequence[int]) -> list[tuple[str, int, int]]:
    """Returns (name, base channels, stride) of blocks; stages but the first halve images.

    Args:
      names: of the stages; a block's name is that of its stage and its number, joined by a dot.
      lengths: number of blocks of each stage.
      widths: base channels of each stage.
    """
    return [
        (f"{name}.{block}", width, 2 if stage > 0 and block == 0 else 1)
        for stage, (name, length, width) in enumerate(zip(names, lengths, widths, strict=True))
        for block in range(length)
    ]


def doubled(width: int, stages: int) -> list[int]:
    """Returns the widths of stages of which each has twice the channels of the one before."""
    return [width * 2**stage for stage in range(stages)]
