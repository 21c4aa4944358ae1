"""Residual networks for small images (He et al. 2015, arXiv 1512.03385): a 3x3 stem and no max-pooling."""

from collections.abc import Callable

import flax.linen as nn
import jax

from rnas.models.residual import ResidualNetwork, stages

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResidualBlock(nn.Module):
    """Convolutions, each normalised, plus the input or its 1x1 convolution; ReLU between and after.

    Attributes:
      convolutions: (features, kernel size, stride) of each.
      conv: makes a convolution from its features, kernel size, stride and name.
      norm: makes a batch normalisation from its name.
    """

    convolutions: tuple[tuple[int, int, int], ...]
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the result [N, h, w, c] and the activations by convolution, the last being the result."""
        out = {}
        y = x
        for i, (features, kernel_size, stride) in enumerate(self.convolutions, start=1):
            raw = self.norm(name=f"bn{i}")(self.conv(features, kernel_size, stride, name=f"conv{i}")(y), train=train)
            y = out[f"conv{i}"] = nn.relu(raw)
        if x.shape != raw.shape:
            stride = max(stride for _, _, stride in self.convolutions)
            x = self.norm(name="shortcut.1")(self.conv(features, 1, stride, name="shortcut.0")(x), train=train)
        y = out[f"conv{i}"] = nn.relu(raw + x)
        return y, out


class ResNet(ResidualNetwork):
    """ResNet-18, -34 or -50; the last is made of bottlenecks, with the stride on their 3x3 convolution.

    Attributes:
      depth: 18, 34 or 50.
      width: channels of the first stage (a quarter of them in a bottleneck's result); later stages double it.
    """

    depth: int = 18
    width: int = 64

    @property
    def block_taps(self) -> tuple[str, ...]:
        return ("conv1", "conv2", "conv3") if self.depth == 50 else ("conv1", "conv2")

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        if self.depth not in BLOCKS:
            raise ValueError(f"depth={self.depth} is no ResNet for small images; choose from {sorted(BLOCKS)}.")
        return stages("layer{}", BLOCKS[self.depth], self.width)

    def stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.relu(self.norm(name="bn1")(self.conv(self.width, name="conv1")(x), train=train))

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        bottleneck = ((features, 1, 1), (features, 3, stride), (4 * features, 1, 1))
        basic = ((features, 3, stride), (features, 3, 1))
        return ResidualBlock(bottleneck if self.depth == 50 else basic, self.conv, self.norm, name=name)
