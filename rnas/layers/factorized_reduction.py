"""Halving of images without losing a pixel row."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


class FactorizedReduction(nn.Module):
    """Two 1x1 convolutions of stride 2, the second one pixel down and right, side by side; batch normalisation.

    Attributes:
      features: channels of the result, an even number.
      conv: makes a convolution from its features, kernel size, stride and name.
      norm: makes a batch normalisation from its name.
    """

    features: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns [..., H / 2, W / 2, features] from `x` [..., H, W, C].

        Raises:
          ValueError: if H, W or `features` is odd.
        """
        height, width = x.shape[-3:-1]
        if height % 2 or width % 2 or self.features % 2:
            raise ValueError(
                f"halving takes images of even size to an even number of channels, got {height}x{width} and "
                f"{self.features}; choose image size and channels that stay even in every reduction."
            )
        halves = [
            self.conv(self.features // 2, 1, 2, name="even")(x),
            self.conv(self.features // 2, 1, 2, name="odd")(x[..., 1:, 1:, :]),
        ]
        return self.norm(name="bn")(jnp.concatenate(halves, -1), train=train)
