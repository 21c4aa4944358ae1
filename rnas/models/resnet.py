"""Residual networks (He et al. 2015, arXiv 1512.03385), for small images and for those of ImageNet.

The ones for small images have a 3x3 stem and no max-pooling; the others are those of torchvision.
"""

import flax.linen as nn
import jax

from rnas.models.image_classifier import Make
from rnas.models.residual import ResidualNetwork, Stages, doubling_stages

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResidualBlock(nn.Module):
    """Convolutions, each normalised, plus the input or its 1x1 convolution; ReLU between and after.

    Attributes:
      convolutions: (features, kernel size, stride) of each.
      conv, norm: make a convolution and a batch normalisation.
      shortcut: name of the pair of a convolution, numbered 0, and a normalisation, numbered 1.
    """

    convolutions: tuple[tuple[int, int, int], ...]
    conv: Make
    norm: Make
    shortcut: str

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
            x = self.conv(features, 1, stride, name=f"{self.shortcut}.0")(x)
            x = self.norm(name=f"{self.shortcut}.1")(x, train=train)
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

    widening = 1
    shortcut = "shortcut"
    stem_kernel = (3, 1)  # size and stride

    @property
    def block_taps(self) -> tuple[str, ...]:  # type: ignore[override]  # by depth
        return ("conv1", "conv2", "conv3") if self.depth == 50 else ("conv1", "conv2")

    @property
    def stages(self) -> Stages:
        return doubling_stages(self.depth, self.width, BLOCKS, "ResNet")

    def stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.relu(self.norm(name="bn1")(self.conv(self.width, *self.stem_kernel, name="conv1")(x), train=train))

    def convolutions(self, features: int, stride: int) -> tuple[tuple[int, int, int], ...]:
        """(features, kernel size, stride) of the convolutions of a block."""
        if self.depth == 50:
            inner = features * self.widening
            return ((inner, 1, 1), (inner, 3, stride), (4 * features, 1, 1))
        return ((features, 3, stride), (features, 3, 1))

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        return ResidualBlock(self.convolutions(features, stride), self.conv, self.norm, self.shortcut, name=name)


class ImageNetResNet(ResNet):
    """ResNet-18, -34 or -50 with a 7x7 stem of stride 2 and max-pooling behind it.

    Attributes:
      widening: factor on the channels inside bottlenecks, not on their results (Zagoruyko & Komodakis 2016,
        arXiv 1605.07146); only for depth 50.
    """

    widening: int = 1

    classifier = "fc"
    shortcut = "downsample"
    stem_kernel = (7, 2)

    def enter(self, x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
