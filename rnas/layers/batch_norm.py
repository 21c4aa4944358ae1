"""Batch normalisation whose affine map can be folded into the convolution before it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.convolution import HE_NORMAL, Conv

Moments = tuple[jax.Array, jax.Array]


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy 2015, arXiv 1502.03167).

    Parameters `scale`, `bias` [C]; `batch_stats` `mean`, `var` [C]; all float32. Running statistics move only
    when the collection `batch_stats` is mutable: a caller decides by `mutable=` which forward pass counts. With
    `branches`, so many normalisations side by side, [B, C] of everything, each over its part of the first axis.

    Attributes:
      momentum: share of the old running statistics that is kept (Flax's sense, 1 - PyTorch's).
      epsilon: added to the variance.
      dtype: of the result; None keeps that of the input. Statistics are never below float32.
      axis_name: mapped axis over which batch statistics are averaged; None for none.
      weights: [N] of the examples in batch statistics, of mean 1 over all replicas; None: all count alike.
      use_affine: whether there are scale and bias; without them the result has mean 0 and variance 1.
      branches: number of normalisations side by side; None is one, without the axis.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = None
    axis_name: str | None = None
    weights: jax.Array | None = None
    use_affine: bool = True
    branches: int | None = None

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns `x` [..., C] normalised, by batch statistics if `train`, else by the running ones."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        multiplier, shift = self.affine(x.shape[-1], lambda: self.moments(wide), train=train)
        return (wide * self.spread(multiplier, x.ndim) + self.spread(shift, x.ndim)).astype(self.dtype or x.dtype)

    def spread(self, statistic: jax.Array, ndim: int) -> jax.Array:
        """Returns a statistic in a shape that meets arrays of `ndim` axes channel by channel."""
        if self.branches is None:
            return lax.broadcast_to_rank(statistic, ndim)
        return statistic.reshape(self.branches, *(1,) * (ndim - 2), -1)

    def moments(self, x: jax.Array) -> Moments:
        """Returns mean and biased variance [C] of `x` [..., C]."""
        axes = tuple(range(0 if self.branches is None else 1, x.ndim - 1))
        mean = self.average(self.weigh(x).mean(axes))
        centre = lax.stop_gradient(mean)
        square = self.average(self.weigh(lax.square(x - self.spread(centre, x.ndim))).mean(axes))
        # The centre is a constant, so that its own gradient takes no pass over x; what that leaves out is the
        # last term, whose value is zero and whose derivatives are not.
        return mean, square - lax.square(mean - centre)

    def weigh(self, x: jax.Array, power: float = 1.0) -> jax.Array:
        """Returns `x` [N, ...] times a power of the weights of its examples, if there are any."""
        if self.weights is None:
            return x
        assert self.branches is None, "examples of branches have no weights"
        return x * lax.broadcast_in_dim(self.weights**power, x.shape, (0,)).astype(x.dtype)

    def average(self, statistic: jax.Array) -> jax.Array:
        """Returns a batch statistic averaged over the replicas, if there are any."""
        if self.axis_name is None or self.is_initializing():
            return statistic
        return lax.pmean(statistic, self.axis_name)

    @nn.compact
    def affine(self, features: int, moments: Callable[[], Moments], *, train: bool) -> Moments:
        """Returns (multiplier, shift) [features], float32; normalising x is `x * multiplier + shift`.

        `moments` gives mean and variance [features] of the batch, used if `train`; else the running ones are.
        """
        shape = (features,) if self.branches is None else (self.branches, features)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            mean, var = moments()
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                for running, batch in ((running_mean, mean), (running_var, var)):
                    running.value = self.momentum * running.value + (1.0 - self.momentum) * batch
        else:
            mean, var = running_mean.value, running_var.value
        multiplier = lax.rsqrt(var + self.epsilon)
        if not self.use_affine:
            return multiplier, -mean * multiplier
        multiplier = self.param("scale", nn.initializers.ones_init(), shape) * multiplier
        return multiplier, self.param("bias", nn.initializers.zeros_init(), shape) - mean * multiplier


class ConvBatchNorm(nn.Module):
    """A convolution and its batch normalisation: params `conv/{kernel,bias}`, `bn/{scale,bias}`.

    A widening 1x1 convolution y = xW + b needs no pass over y for its statistics, for
    mean(y) = mean(x) W + b and var(y) = diag(W' Cov(x) W) exactly. The normalisation then folds into W and b,
    and y is written once, normalised. Where y is narrower than x, x'x would cost more than the pass.

    Attributes:
      features: channels of the output; for a depthwise convolution, those of the input.
      kernel_size: side of the square kernel, padded by half of it.
      stride: of the convolution.
      depthwise: whether each channel is convolved alone.
      use_bias: whether the convolution has a bias, redundant before the normalisation.
      momentum: of the running statistics.
      dtype: of the computation; parameters and statistics are float32.
      axis_name: mapped axis over which batch statistics are averaged.
      weights: of the examples in them, as `BatchNorm` takes them.
      kernel_init: of the convolution's kernel.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    depthwise: bool = False
    use_bias: bool = False
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = None
    weights: jax.Array | None = None
    kernel_init: nn.initializers.Initializer = HE_NORMAL

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the normalised convolution [N, h, w, features] of `x` [N, H, W, C]."""
        channels = x.shape[-1]
        if self.depthwise and channels != self.features:
            raise ValueError(f"a depthwise convolution keeps its {channels} channels, got features={self.features}.")
        groups, own = channels if self.depthwise else 1, dict(dtype=self.dtype, kernel_init=self.kernel_init)
        conv = Conv(self.features, self.kernel_size, self.stride, groups, self.use_bias, **own, name="conv")
        bn = BatchNorm(self.momentum, dtype=self.dtype, axis_name=self.axis_name, weights=self.weights, name="bn")
        if self.depthwise or self.kernel_size != 1 or self.stride != 1 or channels > self.features:
            return bn(conv(x), train=train)

        def moments(kernel: jax.Array, bias: jax.Array | None) -> Moments:
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            mean_x = bn.average(bn.weigh(wide).mean((0, 1, 2)))
            centre = lax.stop_gradient(mean_x)
            flat = bn.weigh(wide - bn.spread(centre, x.ndim), 0.5).reshape(-1, channels)
            covariance = bn.average(gram(flat) / len(flat)) - jnp.outer(mean_x - centre, mean_x - centre)
            mean = jnp.matmul(mean_x, kernel, precision=lax.Precision.HIGHEST)
            var = (jnp.matmul(covariance, kernel, precision=lax.Precision.HIGHEST) * kernel).sum(0)
            return mean if bias is None else mean + bias, jnp.maximum(var, 0.0)

        def fold(kernel: jax.Array, bias: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            multiplier, shift = bn.affine(self.features, lambda: moments(kernel[0, 0], bias), train=train)
            folded = kernel * lax.broadcast_to_rank(multiplier, kernel.ndim)
            return folded, shift if bias is None else shift + bias * multiplier

        return conv(x, fold)


@jax.custom_jvp
def gram(x: jax.Array) -> jax.Array:
    """Returns x'x [C, C] of `x` [N, C], in full float32 everywhere; its gradient is one product, not two."""
    return jnp.matmul(x.T, x, precision=lax.Precision.HIGHEST)


@gram.defjvp
def _gram_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    half = jnp.matmul(x.T, dx, precision=lax.Precision.HIGHEST)
    return gram(x), half + half.T
