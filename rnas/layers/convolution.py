"""Convolution in forms of our own on a CPU, native elsewhere, and the Flax module built on it.

XLA's convolutions on a CPU are far behind what the machine can do, depthwise ones by a factor of fifty. There,
other forms of the same sums are lowered. A process whose default backend is another traces the native convolution and
nothing else; a program that a CPU process lowers for another platform holds native convolutions alone.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import flax.linen as nn
from flax.linen.dtypes import promote_dtype
import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.dense import DENSE
from rnas.layers.depthwise import DEPTHWISE
from rnas.layers.trilinear import convolution
from rnas.layers.window import IMAGES, Padding, Window

HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
FLOATS = (jnp.float32, jnp.float64)  # types with forms of our own

Fold = Callable[[jax.Array, jax.Array | None], tuple[jax.Array, jax.Array | None]]


def convolve(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Padding,
    *,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **options: Any,
) -> jax.Array:
    """`lax.conv_general_dilated`, whose arguments it takes, with forms of our own on a CPU.

    These are for float images [N, H, W, C] of a known number, kernels [kh, kw, C / groups, F] and one group or
    depthwise, without other `options`; the rest is left to XLA. Value and derivatives are those of the native
    convolution up to rounding, in any mode and order, also under `jax.vmap`.
    """
    options |= {"rhs_dilation": rhs_dilation, "dimension_numbers": dimension_numbers}
    options["feature_group_count"] = groups = feature_group_count
    unusual = (
        not on_cpu()
        or lhs.ndim != 4
        or not isinstance(lhs.shape[0], int)  # of an exported program, for any number of images
        or lhs.size == 0
        or lhs.dtype != rhs.dtype
        or lhs.dtype not in FLOATS
        or not (groups == 1 or groups == lhs.shape[-1] == rhs.shape[-1])
        or set(options.get("lhs_dilation") or (1,)) != {1}
        or options.get("batch_group_count", 1) != 1
        or any(options.get(name) is not None for name in ("precision", "preferred_element_type"))
        or lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        != lax.conv_dimension_numbers(lhs.shape, rhs.shape, IMAGES)
    )
    if unusual:
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)
    dilation = tuple(rhs_dilation or (1, 1))
    padding = pixels(padding, lhs.shape[1:3], rhs.shape[:2], window_strides, dilation)
    return convolve_once(Window(rhs.shape[:2], tuple(window_strides), padding, dilation, groups), lhs, rhs)


def on_cpu() -> bool:
    """Whether this process computes on a CPU by default."""
    return jax.default_backend() == "cpu"


def pixels(
    padding: str | Padding, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Returns the pixels (before, after) along height and width that `padding` means for images of that size."""
    if isinstance(padding, str):
        reach = [(side - 1) * step + 1 for side, step in zip(kernel, dilation, strict=True)]
        padding = lax.padtype_to_pads(size, reach, strides, padding)
    return tuple((before, after) for before, after in padding)


# Under jit because a network has hundreds of convolutions of a few kinds: each kind is traced once.
@functools.partial(jax.jit, static_argnums=0)
def convolve_once(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution [N, h, w, F], dense or depthwise, of `x` [N, H, W, C] with `kernel` [kh, kw, *, F]."""
    if window.groups == 1 and window.kernel == (1, 1):
        return lax.platform_dependent(x, kernel, cpu=functools.partial(pointwise, window), default=window.native)
    (result,) = convolution(DENSE if window.groups == 1 else DEPTHWISE, window, x[None], kernel[None])
    return result


def pointwise(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution of `x` [N, H, W, C] with `kernel` [1, 1, C, F] as one matrix product."""
    (seen,) = window.shifts(x)
    return (seen.reshape(-1, seen.shape[-1]) @ kernel[0, 0]).reshape(*seen.shape[:-1], -1)


@functools.partial(jax.jit, static_argnums=0)
def convolve_branches(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns convolutions side by side, [B, N, h, w, F]: of `x` [B, N, H, W, C] with `kernel` [B, kh, kw, *, F]."""
    if window.groups == 1 and window.kernel == (1, 1):
        # One batched matrix product on every platform: accelerators run it faster than a grouped convolution.
        (seen,) = jax.vmap(window.shifts)(x)
        product = jnp.matmul(seen.reshape(len(x), -1, seen.shape[-1]), kernel[:, 0, 0])
        return product.reshape(*seen.shape[:-1], -1)
    depthwise = window.groups == x.shape[-1] == kernel.shape[-1]
    if on_cpu() and depthwise and x.dtype in FLOATS:
        return convolution(DEPTHWISE, window, x, kernel)
    return jax.vmap(window.native)(x, kernel)


class Conv(nn.Module):
    """Two-dimensional convolution of NHWC images, zero bias at first.

    Parameters: `kernel` [k, k, C_in / groups, features], `bias` [features] if `use_bias`. With `branches` there
    are so many convolutions side by side, each with its images and parameters along one more, first axis.

    Attributes:
      features: channels of the output.
      kernel_size: side k of the square kernel.
      stride: the same along height and width.
      groups: groups of channels; `groups == C_in` is a depthwise convolution.
      use_bias: whether a bias is added.
      padding: None pads k // 2 pixels (times the dilation) on every side, as PyTorch does; `"SAME"` pads as
        TensorFlow does, which differs at stride 2; `"VALID"` does not pad.
      dtype: of the computation; None promotes inputs and parameters. Parameters are float32.
      dilation: steps between two entries of the kernel.
      kernel_init: of each kernel; He-normal (fan-out) unless another is given.
      branches: number of convolutions side by side; None is one, without the axis.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    use_bias: bool = False
    padding: str | None = None
    dtype: Any = None
    dilation: int = 1
    kernel_init: nn.initializers.Initializer = HE_NORMAL
    branches: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, fold: Fold | None = None) -> jax.Array:
        """Returns the convolution [N, h, w, features] of `x` [N, H, W, C_in]; with `branches`, B of each.

        `fold` maps (kernel, bias or None) to what is used in their place: so a following affine map is folded into the
        product.
        """
        branches = () if self.branches is None else (self.branches,)
        if x.ndim != 4 + len(branches) or x.shape[: len(branches)] != branches:
            axes = ", ".join([*map(str, branches), "N, H, W, C"])
            raise ValueError(f"Conv takes images of shape [{axes}], got {x.shape}; add the missing axis.")
        side, channels = self.kernel_size, x.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide both {channels} input and {self.features} output channels."
            )
        shape = (*branches, side, side, channels // self.groups, self.features)
        kernel = self.param("kernel", self.initial_kernels, shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (*branches, self.features)) if self.use_bias else None
        if fold is not None:
            kernel, bias = fold(kernel, bias)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        size, strides, dilation = (side, side), (self.stride, self.stride), (self.dilation, self.dilation)
        reach = self.dilation * (side // 2)
        padding: str | Padding = ((reach, reach), (reach, reach)) if self.padding is None else self.padding
        if branches:
            padding = pixels(padding, x.shape[2:4], size, strides, dilation)
            y = convolve_branches(Window(size, strides, padding, dilation, self.groups), x, kernel)
        else:
            options: dict[str, Any] = {"rhs_dilation": dilation, "dimension_numbers": IMAGES}
            y = convolve(x, kernel, strides, padding, feature_group_count=self.groups, **options)
        return y if bias is None else y + bias.reshape(*branches, 1, 1, 1, -1)

    def initial_kernels(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Returns the first kernel, or as many independent ones as there are branches."""
        if self.branches is None:
            return self.kernel_init(key, shape)
        return jax.vmap(lambda key: self.kernel_init(key, shape[1:]))(jax.random.split(key, shape[0]))
