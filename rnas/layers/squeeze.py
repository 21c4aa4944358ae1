"""Squeeze and excitation (Hu et al. 2018, arXiv 1709.01507)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


class SqueezeExcite(nn.Module):
    """Weights each channel by a number in (0, 1) that a small network finds from the means of all channels.

    Parameters: the 1x1 convolutions `fc1` [1, 1, C, squeezed] and `fc2` [1, 1, squeezed, C], both with bias.

    Attributes:
      squeezed: channels between the two.
      conv: makes a convolution from its features, kernel size, bias and name.
    """

    squeezed: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `x` [N, H, W, C] times sigmoid(fc2(relu(fc1(mean of x over H and W))))."""
        mean = x.mean((1, 2), keepdims=True, dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)
        hidden = nn.relu(self.conv(self.squeezed, 1, use_bias=True, name="fc1")(mean))
        return x * nn.sigmoid(self.conv(x.shape[-1], 1, use_bias=True, name="fc2")(hidden))
