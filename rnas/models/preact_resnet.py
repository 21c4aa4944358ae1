"""Pre-activation residual networks for small images (He et al. 2016, arXiv 1603.05027).

The graph is that of Rice et al. 2020 (arXiv 2002.11569): where a block changes shape, the activated input
feeds its shortcut too, and a last normalisation and ReLU precede the pooling.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from rnas.models.residual import ResidualNetwork, stages

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class PreActBlock(nn.Module):
    """Normalise, activate, convolve 3x3, twice; plus the input, or a 1x1 convolution where the shape changes.

    Attributes:
      features: channels of the result.
      stride: of the first convolution and of the shortcut.
      shortcut: name of the shortcut's convolution.
      conv: makes a convolution from its features, kernel size, stride and name.
      norm: makes a batch normalisation from its name.
    """

    features: int
    stride: int
    shortcut: str
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the sum [N, h, w, features] and the raw results of both convolutions by name."""
        active = nn.relu(self.norm(name="bn1")(x, train=train))
        first = self.conv(self.features, stride=self.stride, name="conv1")(active)
        second = self.conv(self.features, name="conv2")(nn.relu(self.norm(name="bn2")(first, train=train)))
        if self.stride != 1 or x.shape[-1] != self.features:
            x = self.conv(self.features, 1, self.stride, name=self.shortcut)(active)
        return second + x, {"conv1": first, "conv2": second}


class PreActResNet(ResidualNetwork):
    """Pre-activation ResNet-18 or -34 with a 3x3 stem and no max-pooling.

    Attributes:
      depth: 18 or 34.
      width: channels of the first stage; later stages double it.
    """

    depth: int = 18
    width: int = 64

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        if self.depth not in BLOCKS:
            raise ValueError(f"depth={self.depth} is no pre-activation ResNet; choose from {sorted(BLOCKS)}.")
        return stages("layer{}", BLOCKS[self.depth], self.width)

    def stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.conv(self.width, name="conv1")(x)

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        return PreActBlock(features, stride, "shortcut.0", self.conv, self.norm, name=name)

    def end(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.relu(self.norm(name="bn")(x, train=train))
