"""Convolution over all channels, on a CPU with gradients in forms of their own.

The gradient to the images is written as a forward convolution with the kernel turned round. The native
transpose is the same until it stands in a loop: there XLA takes the turning out of the loop, no longer sees a
convolution that it has a fast routine for, and takes twenty times as long. The gradient to the kernel is
summed over blocks of images, each spread out into one matrix of what the kernel sees.

Images of few channels, the first layer of most networks, give XLA's routine too little to do at each position.
Grey ones are convolved as a sum of shifted products, and the gradient to few channels is one matrix product whose
columns are shifted back.
"""

import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.trilinear import Forms
from rnas.layers.window import IMAGES, Pair, Window, block_size, sum_of_products

ROWS = 2048  # of the matrix, which is to stay in the cache
FEW = 4  # input channels up to which the gradient to the images goes by columns
FEATURES = 16  # output channels up to which a grey image is convolved by shifted products


def value(window: Window, size: Pair, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution [N, h, w, F] of `x` [N, H, W, C] with `kernel` [kh, kw, C, F]."""
    if x.shape[-1] > 1 or kernel.shape[-1] > FEATURES:
        return window.native(x, kernel)
    return sum_of_products(window.shifts(x), kernel)


def to_images(window: Window, size: Pair, kernel: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient [N, *size, C] to the images, from that to the result, `g` [N, h, w, F]."""
    form = shifted_back if kernel.shape[2] <= FEW else turned_round
    return form(window, (len(g), *size, kernel.shape[2]), kernel, g)


def shifted_back(window: Window, shape: tuple[int, ...], kernel: jax.Array, g: jax.Array) -> jax.Array:
    """Returns what `turned_round` returns, as one matrix product whose columns are shifted back and added."""
    *_, channels, features = kernel.shape
    columns = (g.reshape(-1, features) @ kernel.reshape(-1, features).T).reshape(*g.shape[:3], -1)
    seen = jnp.split(columns, columns.shape[-1] // channels, axis=-1)
    return jax.linear_transpose(window.shifts, jax.ShapeDtypeStruct(shape, g.dtype))(seen)[0]


def turned_round(window: Window, shape: tuple[int, ...], kernel: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient to images of `shape` [N, H, W, C], from `kernel` and the result's gradient `g`."""
    axes = zip(shape[1:3], g.shape[1:3], window.reach, window.strides, window.padding, strict=True)
    padding = [
        (reach - before, size + before - (out - 1) * stride - 1) for size, out, reach, stride, (before, _) in axes
    ]
    turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    options: dict[str, Any] = dict(lhs_dilation=window.strides, rhs_dilation=window.dilation, dimension_numbers=IMAGES)
    return lax.conv_general_dilated(g, turned, (1, 1), padding, **options)


def to_kernel(window: Window, size: Pair, x: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient [kh, kw, C, F] to the kernel, from images `x` and the result's gradient `g`."""
    images, height, width, features = g.shape
    channels = x.shape[-1]
    block = block_size(images, ROWS // (height * width))
    seen = math.prod(window.kernel) * channels

    def step(total, block_of):
        x, g = block_of
        columns = jnp.concatenate(window.shifts(x), -1).reshape(-1, seen)
        return total + columns.T @ g.reshape(-1, features), None

    blocks = jax.tree.map(lambda a: a.reshape(-1, block, *a.shape[1:]), (x, g))
    total, _ = lax.scan(step, jnp.zeros((seen, features), x.dtype), blocks)
    return total.reshape(*window.kernel, channels, features)


DENSE = Forms(value, to_images, to_kernel)
