"""Depthwise separable convolution with batch normalisation."""

from collections.abc import Callable

import flax.linen as nn
import jax


class SeparableConv(nn.Module):
    """A convolution of each channel alone, one over all channels, 1x1, and a batch normalisation.

    Attributes:
      features: channels of the result.
      kernel_size: side of the depthwise kernel.
      stride: of the depthwise convolution.
      dilation: of the depthwise convolution.
      conv: makes a convolution from its features, kernel size, stride, groups, dilation and name.
      norm: makes a batch normalisation from its name.
    """

    features: int
    kernel_size: int
    stride: int
    dilation: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns [..., h, w, features] from `x` [..., H, W, C]."""
        channels = x.shape[-1]
        x = self.conv(channels, self.kernel_size, self.stride, channels, dilation=self.dilation, name="depthwise")(x)
        return self.norm(name="bn")(self.conv(self.features, 1, name="pointwise")(x), train=train)
