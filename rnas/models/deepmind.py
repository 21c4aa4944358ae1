"""The networks of DeepMind's robustness studies and of those that build on them.

Wide and pre-activation ResNets of Gowal et al. 2020 (arXiv 2010.03593), and the RaWideResNet of Peng et al. 2023
(arXiv 2308.16258). They pad as TensorFlow does, which at stride 2 and an even size is one pixel after the image and
none before it. Their published weights belong to SiLU.
"""

from collections.abc import Callable
import functools
from typing import ClassVar

import flax.linen as nn
import jax

from rnas.layers import Conv
from rnas.models.image_classifier import Make
from rnas.models.preact_resnet import BLOCKS, Names, PreActNetwork
from rnas.models.residual import Stages, doubling_stages, wide_stages

NAMES = Names(("batchnorm_0", "batchnorm_1"), ("conv_0", "conv_1"), "shortcut")


class DeepMindNetwork(PreActNetwork, kw_only=True):
    """Base of these networks.

    Attributes:
      activation: silu or relu.
    """

    activation: str = "silu"

    stem_tap = "init_conv"
    block_taps = NAMES.convs
    stage_names: ClassVar[tuple[str, ...]] = ("layer.0.block", "layer.1.block", "layer.2.block")
    names = NAMES
    last_norm = "batchnorm"
    classifier = "logits"

    @property
    def conv(self) -> Make:
        return functools.partial(Conv, padding="SAME", dtype=self.dtype)

    @property
    def activate(self) -> Callable[[jax.Array], jax.Array]:
        return {"silu": nn.silu, "relu": nn.relu}[self.activation]


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
    def stages(self) -> Stages:
        return wide_stages(self.depth, self.width)


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
    stage_names = ("layer_0", "layer_1", "layer_2", "layer_3")
    names = NAMES._replace(convs=block_taps)
    raw_shortcut = True
    shortcut_size = 3

    @property
    def stem_features(self) -> int:
        return self.width

    @property
    def stages(self) -> Stages:
        return doubling_stages(self.depth, self.width, BLOCKS, "pre-activation ResNet")


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

    squeeze = True

    @property
    def stages(self) -> Stages:
        return self.lengths, self.widths
