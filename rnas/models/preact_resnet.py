"""Pre-activation residual networks for small images (He et al. 2016, arXiv 1603.05027), narrow and wide.

Published checkpoints of a pre-activation ResNet have one of two graphs. In that of Rice et al. 2020 (arXiv 2002.11569)
the activated input of a block that changes shape feeds its shortcut too, and a last normalisation and ReLU precede the
pooling. In that of Wong et al. 2020 (arXiv 2001.03994) the block's raw input feeds the shortcut, and nothing precedes
the pooling. Wide networks (Zagoruyko & Komodakis 2016, arXiv 1605.07146) have the graph of TRADES (Zhang et al. 2019,
arXiv 1901.08573) without dropout.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax

from rnas.layers import SqueezeExcite
from rnas.models.image_classifier import Make
from rnas.models.residual import ResidualNetwork, Stages, doubling_stages, wide_stages

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
      conv, norm: make a convolution and a batch normalisation.
      names: of the layers.
      activation: after each normalisation.
      raw_shortcut: whether the block's input itself feeds the shortcut's convolution, not the activated one.
      shortcut_size: side of the kernel of the shortcut's convolution.
      squeeze: whether the second convolution's channels are reweighted by squeeze and excitation, named `se`.
    """

    features: int
    stride: int
    conv: Make
    norm: Make
    names: Names
    activation: Callable[[jax.Array], jax.Array]
    raw_shortcut: bool
    shortcut_size: int
    squeeze: bool

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


class PreActNetwork(ResidualNetwork, kw_only=True):
    """Base of the networks of such blocks, see `PreActBlock`."""

    names = Names()
    raw_shortcut = False
    shortcut_size = 1
    squeeze = False

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        how = self.names, self.activate, self.raw_shortcut, self.shortcut_size, self.squeeze
        return PreActBlock(features, stride, self.conv, self.norm, *how, name=name)


class PreActResNet(PreActNetwork):
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
    def stem_features(self) -> int:
        return self.width

    @property
    def stages(self) -> Stages:
        return doubling_stages(self.depth, self.width, BLOCKS, "pre-activation ResNet")

    @property
    def last_norm(self) -> str:  # type: ignore[override]  # a field decides
        return "bn" if self.final_norm else ""


class WideResNet(PreActNetwork):
    """Pre-activation network of three stages with 16 k, 32 k and 64 k channels for width k.

    Attributes:
      depth: number of weight layers, 6 n + 4 for n blocks a stage.
      width: the factor k.
    """

    depth: int
    width: int

    stem_features = 16
    stage_names = ("block1.layer", "block2.layer", "block3.layer")
    names = Names(shortcut="convShortcut")
    last_norm = "bn1"
    classifier = "fc"

    @property
    def stages(self) -> Stages:
        return wide_stages(self.depth, self.width)
