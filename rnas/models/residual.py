"""What residual networks for small images share: a stem, blocks with taps, pooling and a dense layer.

Module names are those of the published PyTorch checkpoints, so that a parameter's path joined by dots is its
name there.
"""

from collections.abc import Callable
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnas.layers import BatchNorm, Conv, Normalize


class ResidualNetwork(nn.Module, kw_only=True):
    """Base of the residual networks; subclasses say what their stem, blocks and end are.

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

    classifier = "linear"
    block_taps = ("conv1", "conv2")

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        """(name, base channels, stride) of every block in forward order."""
        raise NotImplementedError

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the intermediate outputs, in forward order."""
        return ("conv1", *(f"{name}.{tap}" for name, _, _ in self.blocks for tap in self.block_taps))

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
        out = {"conv1": x}
        for name, features, stride in self.blocks:
            x, inner = self.block(name, features, stride)(x, train=train)
            out |= {f"{name}.{tap}": value for tap, value in inner.items()}
        x = self.end(x, train=train)
        pooled = x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
        return nn.Dense(self.num_classes, name=self.classifier)(pooled), out


def stages(prefix: str, blocks: tuple[int, ...], width: int) -> list[tuple[str, int, int]]:
    """Returns (name, base channels, stride) of blocks; stages but the first double channels and halve images.

    Args:
      prefix: of the names; `{}` stands for the stage, counted from 1.
      blocks: number of blocks of each stage.
      width: channels of the first stage.
    """
    return [
        (f"{prefix.format(stage + 1)}.{block}", width * 2**stage, 2 if stage > 0 and block == 0 else 1)
        for stage, length in enumerate(blocks)
        for block in range(length)
    ]
