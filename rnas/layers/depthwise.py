"""Depthwise convolution, on a CPU as a sum of shifted products.

y = sum_ij shift_ij(pad(x)) w_ij is one elementwise loop; its gradient to x is the same with the kernel turned
round, and that to w is kh * kw sums taken together in one pass. All of it goes over a few images at a time:
that keeps them in the cache, and keeps XLA from working out what comes before and after once for every entry
of the kernel.
"""

import math

import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.trilinear import Forms
from rnas.layers.window import Pair, Window, block_size, sum_of_products

BLOCK = 8  # images at a time: enough for every core, few enough for the cache


def value(window: Window, size: Pair, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns each channel of `x` [N, H, W, C] convolved with its own `kernel` [kh, kw, 1, C]."""
    return joined(lax.map(lambda x: sum_of_products(window.shifts(x), kernel), blocks(x)))


def to_images(window: Window, size: Pair, kernel: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient [N, *size, C] to the images, from that to the result, `g` [N, h, w, C]."""
    kernel = kernel[::-1, ::-1]
    return joined(lax.map(lambda g: sum_of_products(window.shifts_back(g, size), kernel), blocks(g)))


def to_kernel(window: Window, size: Pair, x: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient [kh, kw, 1, C] to the kernel, from images `x` and the result's gradient `g`."""

    def step(sums, block):
        x, g = block
        return [a + b for a, b in zip(sums, sum_together([shift * g for shift in window.shifts(x)]), strict=True)], None

    block_x, block_g = blocks(x), blocks(g)
    zeros = [jnp.zeros((block_x.shape[1], x.shape[-1]), x.dtype)] * math.prod(window.kernel)
    sums, _ = lax.scan(step, zeros, (block_x, block_g))
    return jnp.stack(sums).sum(1).reshape(*window.kernel, 1, -1)


DEPTHWISE = Forms(value, to_images, to_kernel)


def blocks(images: jax.Array) -> jax.Array:
    """Returns images [N, ...] as [N / block, block, ...]."""
    return images.reshape(-1, block_size(len(images), BLOCK), *images.shape[1:])


def joined(blocks: jax.Array) -> jax.Array:
    """Returns blocks [N / block, block, ...] as [N, ...]."""
    return blocks.reshape(-1, *blocks.shape[2:])


def sum_together(arrays: list[jax.Array]) -> list[jax.Array]:
    """Returns the sums [N, C] over height and width of arrays [N, H, W, C], all of them in one loop."""
    zero = jnp.zeros((), arrays[0].dtype)
    return lax.reduce(arrays, [zero] * len(arrays), lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (1, 2))
