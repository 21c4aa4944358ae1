"""What residual networks share: a stem, blocks with taps, pooling and a dense layer.

Module names are those of the published PyTorch checkpoints, so that a parameter's path joined by dots is its
name there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnas.layers import Normalize
from rnas.models.image_classifier import ImageClassifier, Output

Stages = tuple[Sequence[int], Sequence[int]]  # number of blocks, and base channels, of each stage


class ResidualNetwork(ImageClassifier, kw_only=True):
    """Base of the residual networks; subclasses define stages and block, and what else differs from this."""

    stem_tap = "conv1"
    block_taps: ClassVar[tuple[str, ...]] = ("conv1", "conv2")
    stage_names: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3", "layer4")
    last_norm = ""  # name of a normalisation, activated, before the pooling
    classifier = "linear"

    @property
    def activate(self) -> Callable[[jax.Array], jax.Array]:
        return nn.relu

    @property
    def stem_features(self) -> int:
        """Channels of the first convolution."""
        raise NotImplementedError

    @property
    def stages(self) -> Stages:
        raise NotImplementedError

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        """(name, base channels, stride) of every block in forward order; stages but the first halve images."""
        return [
            (f"{name}.{block}", width, 2 if stage > 0 and block == 0 else 1)
            for stage, (name, length, width) in enumerate(zip(self.stage_names, *self.stages, strict=True))
            for block in range(length)
        ]

    @property
    def taps(self) -> tuple[str, ...]:
        return (self.stem_tap, *(f"{name}.{tap}" for name, _, _ in self.blocks for tap in self.block_taps))

    def stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the first tap, from the normalised images."""
        del train
        return self.conv(self.stem_features, name=self.stem_tap)(x)

    def enter(self, x: jax.Array) -> jax.Array:
        """Returns what the first block gets, from the first tap."""
        return x

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        """Returns the block of that name, whose call gives its result and its taps."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Output:
        x = self.stem(Normalize(self.mean, self.std)(images), train=train)
        out = {self.stem_tap: x}
        x = self.enter(x)
        for name, features, stride in self.blocks:
            x, inner = self.block(name, features, stride)(x, train=train)
            out |= {f"{name}.{tap}": value for tap, value in inner.items()}
        if self.last_norm:
            x = self.activate(self.norm(name=self.last_norm)(x, train=train))
        pooled = x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
        return nn.Dense(self.num_classes, name=self.classifier)(pooled), out


def doubling_stages(depth: int, width: int, lengths: Mapping[int, tuple[int, ...]], kind: str) -> Stages:
    """Returns four stages of which each has twice the channels of the one before; ValueError for an unknown depth."""
    if depth not in lengths:
        raise ValueError(f"depth={depth} is no {kind}; choose from {sorted(lengths)}.")
    return lengths[depth], [width * 2**stage for stage in range(4)]


def wide_stages(depth: int, width: int) -> Stages:
    """Returns the three stages of a wide residual network; ValueError where none has that depth."""
    length, rest = divmod(depth - 4, 6)
    if length < 1 or rest:
        raise ValueError(f"depth={depth} is no wide ResNet's; it must be 6 n + 4: 10, 16, 22, 28, 34, …")
    return (length,) * 3, [16 * width * 2**stage for stage in range(3)]
