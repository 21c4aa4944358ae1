"""Wide residual networks (Zagoruyko & Komodakis 2016, arXiv 1605.07146) as used for robust training.

The graph is that of TRADES (Zhang et al. 2019, arXiv 1901.08573) without dropout.
"""

import flax.linen as nn
import jax

from rnas.models.preact_resnet import Names, PreActBlock
from rnas.models.residual import ResidualNetwork, doubled, stages


class WideResNet(ResidualNetwork):
    """Pre-activation network of three stages with 16 k, 32 k and 64 k channels for width k.

    Attributes:
      depth: number of weight layers, 6 n + 4 for n blocks a stage.
      width: the factor k.
    """

    depth: int
    width: int

    classifier = "fc"

    @property
    def blocks(self) -> list[tuple[str, int, int]]:
        return stages(
            [f"block{i}.layer" for i in (1, 2, 3)], (wide_length(self.depth),) * 3, doubled(16 * self.width, 3)
        )

    def stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.conv(16, name="conv1")(x)

    def block(self, name: str, features: int, stride: int) -> nn.Module:
        return PreActBlock(features, stride, self.conv, self.norm, Names(shortcut="convShortcut"), name=name)

    def end(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.relu(self.norm(name="bn1")(x, train=train))


def wide_length(depth: int) -> int:
    """Returns the number of blocks of each stage of a wide residual network.

    Raises:
      ValueError: if no such network has that depth.
    """
    length, rest = divmod(depth - 4, 6)
    if length < 1 or rest:
        raise ValueError(f"depth={depth} is no wide ResNet's; it must be 6 n + 4: 10, 16, 22, 28, 34, …")
    return length
