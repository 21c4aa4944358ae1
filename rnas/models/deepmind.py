"""The networks of DeepMind's robustness studies and of those that build on them.

Wide and pre-activation ResNets of Gowal et al. 2020 (arXiv 2010.03593), and the RaWideResNet of Peng et al. 2023
(arXiv 2308.16258). They pad as TensorFlow does, which at stride 2 and an even size is one pixel after the image and
none before it. Their published weights belong to SiLU.
"""

from collections.abc import Callable
import functools

import flax.linen as nn
import jax

from rnas.layers import Conv
from rnas.models.preact_resnet import BLOCKS, Names, PreActBlock
from rnas.models.residual import ResidualNetwork, doubled, stages
from rnas.models.wide_resnet import wide_length

NAMES = Names(("batchnorm_0", "batchnorm_1"), ("conv_0", "conv_1"), "shortcut")


class DeepMindNetwork(ResidualNetwork, kw_only=True):
    """Base of these networks.

    Attributes:
      activation: silu or relu.
    """

    activation: str = "silu"

    stem_tap = "init_conv"
    block_taps = NAMES.convs
    classifier = "logits"

    @property
    def conv(self) -> Callable[..., nn.Module]:
        return functools.partial(Conv, padding="SAME", dtype=self.dtype)

    @property
    def activate(self) -> Callable[[jax.Array], jax.Array]:
        """The activation as a function."""
        return {"silu": nn.silu, "relu": nn.relu}[self.activation]

    @property
    def stem_features(self) -> int:
        """Channels of the first convolution."""
        raise NotImplementedError

    def stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.conv(self.stem_features, name=self.stem_tap)(x)

    def end(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.activate(self.norm(name="batchnorm")(x, train=train))


class DMWideResNet(DeepMindNetwork):
    """Wide ResNet of three stages with 16 k, 32 k and 64 k channels for width k.

    Attributes:
      depth: number of weight layers, 6 n + 4 for n blocks a stage.
      width: the factor k.
    """

    depth: int
    width: int

    stem_features = 16

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        names = [f"layer.{i}.block" for i in (0, 1, 2)]
        return stages(names, (wide_length(self.depth),) * 3, doubled(16 * self.width, 3))

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        return PreActBlock(features, stride, self.conv, self.norm, NAMES, self.activate, name=name)


class DMPreActResNet(DeepMindNetwork):
    """Pre-activation ResNet-18 or -34 whose shortcuts are 3x3 convolutions of a block's raw input.

    Attributes:
      depth: 18 or 34.
      width: channels of the first stage; later stages double it.
    """

    depth: int = 18
    width: int = 64

    stem_tap = "conv_2d"
    block_taps = ("conv_2d_1", "conv_2d_2")

    @property
    def stem_features(self) -> int:
        return self.width

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        if self.depth not in BLOCKS:
            raise ValueError(f"depth={self.depth} is no pre-activation ResNet; choose from {sorted(BLOCKS)}.")
        return stages([f"layer_{i}" for i in (0, 1, 2, 3)], BLOCKS[self.depth], doubled(self.width, 4))

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        names = NAMES._replace(convs=self.block_taps)
        return PreActBlock(
            features, stride, self.conv, self.norm, names, self.activate, raw_shortcut=True, shortcut_size=3, name=name
        )


class RaWideResNet(DeepMindNetwork):
    """Wide ResNet with stages of unequal length and squeeze and excitation in every block.

    Attributes:
      stem_features: channels of the first convolution.
      lengths: number of blocks of each of the three stages.
      widths: channels of each stage.
    """

    stem_features: int = 96
    lengths: tuple[int, int, int] = (30, 31, 10)
    widths: tuple[int, int, int] = (216, 432, 864)

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        return stages([f"layer.{i}.block" for i in (0, 1, 2)], self.lengths, self.widths)

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        return PreActBlock(features, stride, self.conv, self.norm, NAMES, self.activate, squeeze=True, name=name)
