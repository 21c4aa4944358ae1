"""Parts that networks of cells share: convolutions, halving of images, dropping of paths, the head."""

from collections.abc import Callable
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

UNIFORM_FAN_IN = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # U(±1/√fan_in), PyTorch's default


class SeparableConv(nn.Module):
    """A convolution of each channel alone, one over all channels, 1x1, and a batch normalisation.

    Attributes:
      features: channels of the result.
      kernel_size, stride, dilation: of the depthwise convolution.
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


class FactorizedReduction(nn.Module):
    """Halves images without losing a pixel row.

    Two 1x1 convolutions of stride 2, the second one pixel down and right, side by side; batch normalisation.

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
        """Returns [..., H / 2, W / 2, features] from `x` [..., H, W, C]; H, W and `features` must be even."""
        height, width = x.shape[-3:-1]
        if height % 2 or width % 2 or self.features % 2:
            raise ValueError(
                f"halving takes images of even size to an even number of channels, got {height}x{width} and "
                f"{self.features}; choose image size and channels that stay even in every reduction."
            )
        even = self.conv(self.features // 2, 1, 2, name="even")(x)
        odd = self.conv(self.features // 2, 1, 2, name="odd")(x[..., 1:, 1:, :])
        return self.norm(name="bn")(jnp.concatenate([even, odd], -1), train=train)


def drop_path(x: jax.Array, keys: jax.Array, rate: jax.Array | float) -> jax.Array:
    """Returns `x` with each example zeroed with a probability, and scaled so that its expectation stays.

    Source: Larsson et al. 2016 (arXiv 1605.07648), in the form of DARTS (arXiv 1806.09055).

    Args:
      x: [N, ...]; keys: one random key per example [N].
      rate: probability of zeroing, in [0, 1).
    """
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate))(keys)
    factor = jnp.where(kept, 1.0 / (1.0 - rate), 0.0).astype(x.dtype)
    return x * factor.reshape(-1, *(1,) * (x.ndim - 1))


def classify(x: jax.Array, num_classes: int) -> jax.Array:
    """Returns logits [N, num_classes], float32, of `x` [N, H, W, C]: its mean over the image, and a dense layer.

    To be called within a module's `nn.compact` method; parameters `classifier/{kernel,bias}`.
    """
    bound = 1.0 / math.sqrt(x.shape[-1])

    def bias_init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    pooled = x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
    return nn.Dense(num_classes, kernel_init=UNIFORM_FAN_IN, bias_init=bias_init, name="classifier")(pooled)
