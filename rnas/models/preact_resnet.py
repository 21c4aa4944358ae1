"""Pre-activation residual networks for small images (He et al. 2016, arXiv 1603.05027).

Published checkpoints of this name have one of two graphs. In that of Rice et al. 2020 (arXiv 2002.11569) the activated
input of a block that changes shape feeds its shortcut too, and a last normalisation and ReLU precede the pooling. In
that of Wong et al. 2020 (arXiv 2001.03994) the block's raw input feeds the shortcut, and nothing precedes the pooling.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax

from rnas.layers import SqueezeExcite
from rnas.models.residual import ResidualNetwork, doubled, stages

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class Names(NamedTuple):
    """What a family calls the layers of a pre-activation block."""

    norms: tuple[str, str] = ("bn1", "bn2")
    convs: tuple[str, str] = ("conv1", "conv2")
    shortcut: str = "shortcut.0"


class PreActBlock(nn.Module):
    """Normalise, activate, convolve 3x3, twice; plus the input, or a convolution of it where the shape changes.

    Attributes:
      features: channels of the result.
      stride: of the first convolution and of the shortcut.
      conv: makes a convolution from its features, kernel size, stride and name.
      norm: makes a batch normalisation from its name.
      names: of the layers.
      activation: after each normalisation.
      raw_shortcut: whether the block's input itself feeds the shortcut's convolution, not the activated one.
      shortcut_size: side of the kernel of the shortcut's convolution.
      squeeze: whether the second convolution's channels are reweighted by squeeze and excitation, named `se`.
    """

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    names: Names = Names()
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    raw_shortcut: bool = False
    shortcut_size: int = 1
    squeeze: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the sum [N, h, w, features] and the raw results of both convolutions by name."""
        norms, convs, shortcut = self.names
        active = self.activation(self.norm(name=norms[0])(x, train=train))
        first = self.conv(self.features, stride=self.stride, name=convs[0])(active)
        between = self.activation(self.norm(name=norms[1])(first, train=train))
        second = self.conv(self.features, name=convs[1])(between)
        added = SqueezeExcite(round(self.features / 4), self.conv, name="se")(second) if self.squeeze else second
        if self.stride != 1 or x.shape[-1] != self.features:
            source = x if self.raw_shortcut else active
            x = self.conv(self.features, self.shortcut_size, self.stride, name=shortcut)(source)
        return added + x, dict(zip(convs, (first, second), strict=True))


class PreActResNet(ResidualNetwork):
    """Pre-activation ResNet-18 or -34 with a 3x3 stem and no max-pooling.

    Attributes:
      depth: 18 or 34.
      width: channels of the first stage; later stages double it.
      raw_shortcut: see `PreActBlock`.
      final_norm: whether a normalisation and ReLU precede the pooling.
    """

    depth: int = 18
    width: int = 64
    raw_shortcut: bool = False
    final_norm: bool = True

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        if self.depth not in BLOCKS:
            raise ValueError(f"depth={self.depth} is no pre-activation ResNet; choose from {sorted(BLOCKS)}.")
        return stages([f"layer{i}" for i in (1, 2, 3, 4)], BLOCKS[self.depth], doubled(self.width, 4))

    def stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.conv(self.width, name="conv1")(x)

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        return PreActBlock(features, stride, self.conv, self.norm, raw_shortcut=self.raw_shortcut, name=name)

    def end(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.relu(self.norm(name="bn")(x, train=train)) if self.final_norm else x
