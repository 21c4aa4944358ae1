"""Convolution that picks its form by platform, and the Flax module built on it.

XLA's convolutions on a CPU are far behind what the machine can do, depthwise ones by a factor of fifty. There,
other forms of the same sums are lowered; every other platform keeps its native convolution.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import flax.linen as nn
from flax.linen.dtypes import promote_dtype
import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.dense import dense
from rnas.layers.depthwise import depthwise
from rnas.layers.window import IMAGES, Pair, Window

Fold = Callable[[jax.Array, jax.Array | None], tuple[jax.Array, jax.Array | None]]

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def convolve(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[Pair],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """`lax.conv_general_dilated`, with its own forms on a CPU.

    They are for float images NHWC, kernels HWIO and one group or depthwise; the rest is left to XLA. Value
    and derivatives are those of the native convolution up to rounding. Reverse mode, forward over reverse and
    `jax.vmap` work; forward mode alone does not, as for every function with its own reverse rule.

    Args:
      lhs: images [N, H, W, C].
      rhs: kernel [kh, kw, C / groups, F].
      window_strides: along height and width.
      padding: "SAME", "VALID", or pixels (before, after) along height and width.
      lhs_dilation: of the images.
      rhs_dilation: of the kernel.
      dimension_numbers: meaning of the axes; images NHWC and kernels HWIO are what has other forms.
      feature_group_count: groups of channels.
      batch_group_count: groups of images.
      precision: of the products.
      preferred_element_type: of the sums.

    Returns:
      The convolution [N, h, w, F].
    """
    unusual = (
        lhs.ndim != 4
        or lhs.size == 0
        or lhs.dtype != rhs.dtype
        or lhs.dtype not in (jnp.float32, jnp.float64)
        or set(lhs_dilation or (1,)) != {1}
        or batch_group_count != 1
        or precision is not None
        or preferred_element_type is not None
        or lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        != lax.conv_dimension_numbers(lhs.shape, rhs.shape, IMAGES)
    )
    channels = lhs.shape[-1]
    separate = feature_group_count == channels == rhs.shape[-1]
    if unusual or not (separate or feature_group_count == 1):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
        )
    dilation = tuple(rhs_dilation or (1, 1))
    if isinstance(padding, str):
        reach = [(size - 1) * step + 1 for size, step in zip(rhs.shape[:2], dilation, strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:3], reach, window_strides, padding)
    window = Window(
        rhs.shape[:2],
        tuple(window_strides),
        tuple(tuple(pair) for pair in padding),
        dilation,
        feature_group_count,
    )
    if feature_group_count == 1 and window.kernel == (1, 1):
        return lax.platform_dependent(lhs, rhs, cpu=functools.partial(pointwise, window), default=window.native)
    return (dense if feature_group_count == 1 else depthwise)(window, lhs, rhs)


def pointwise(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution of `x` [N, H, W, C] with `kernel` [1, 1, C, F] as one matrix product."""
    (seen,) = window.shifts(x)
    return (seen.reshape(-1, seen.shape[-1]) @ kernel[0, 0]).reshape(*seen.shape[:-1], -1)


class Conv(nn.Module):
    """Two-dimensional convolution of NHWC images, zero bias at first.

    Parameters: `kernel` [k, k, C_in / groups, features], `bias` [features] if `use_bias`.

    Attributes:
      features: channels of the output.
      kernel_size: side k of the square kernel.
      stride: the same along height and width.
      groups: groups of channels; `groups == C_in` is a depthwise convolution.
      use_bias: whether a bias is added.
      padding: None pads k // 2 pixels on every side, as PyTorch does; `"SAME"` pads as TensorFlow does, which
        differs at stride 2.
      dtype: of the computation; None promotes inputs and parameters. Parameters are float32.
      kernel_init: of the kernel; He-normal (fan-out) unless another is given.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    use_bias: bool = False
    padding: str | None = None
    dtype: Any = None
    kernel_init: nn.initializers.Initializer = he_normal

    @nn.compact
    def __call__(self, x: jax.Array, fold: Fold | None = None) -> jax.Array:
        """Returns the convolution [N, h, w, features] of `x` [N, H, W, C_in].

        Args:
          x: images.
          fold: maps (kernel, bias or None) to what is used in their place; this is how a following affine
            map is folded into the product.
        """
        if x.ndim != 4:
            raise ValueError(f"Conv takes images of shape [N, H, W, C], got {x.shape}; add the missing axis.")
        side, channels = self.kernel_size, x.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide both {channels} input and {self.features} output channels."
            )
        kernel = self.param(
            "kernel",
            self.kernel_init,
            (side, side, channels // self.groups, self.features),
        )
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,)) if self.use_bias else None
        if fold is not None:
            kernel, bias = fold(kernel, bias)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        padding = ((side // 2, side // 2),) * 2 if self.padding is None else self.padding
        y = convolve(
            x,
            kernel,
            (self.stride, self.stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        return y if bias is None else y + bias
