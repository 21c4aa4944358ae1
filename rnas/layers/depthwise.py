"""Depthwise convolution, on a CPU as a sum of shifted products.

y = sum_ij shift_ij(pad(x)) w_ij is one elementwise loop; its gradient to x is the same with the kernel turned
round, and that to w is kh * kw sums taken together in one pass. All of it goes over a few images at a time:
that keeps them in the cache, and keeps XLA from working out what comes before and after once for every entry
of the kernel.
"""

from collections.abc import Callable
import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.trilinear import Forms
from rnas.layers.window import Pair, Window, block_size

BLOCK = 8  # images at a time: enough for every core, few enough for the cache


@functools.cache
def depthwise(block: int = BLOCK) -> Forms:
    """Returns the forms of a depthwise convolution that goes over at most `block` images at a time."""
    return Forms(*(functools.partial(form, block) for form in (value, to_images, to_kernel)))


def value(block: int, window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns each channel of `x` [N, H, W, C] convolved with its own `kernel` [kh, kw, 1, C]."""
    return blockwise(block, lambda x: sum_of_products(window.shifts(x), kernel), x)


def to_images(block: int, window: Window, size: Pair, kernel: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient [N, *size, C] to the images, from that to the result, `g` [N, h, w, C]."""
    kernel = kernel[::-1, ::-1]
    return blockwise(block, lambda g: sum_of_products(window.shifts_back(g, size), kernel), g)


def to_kernel(block: int, window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient [kh, kw, 1, C] to the kernel, from images `x` and the result's gradient `g`."""

    def sums(x, g):
        return sum_together([shift * g for shift in window.shifts(x)])

    def step(total, block):
        return [a + b for a, b in zip(total, sums(*block), strict=True)], None

    if block >= len(x):
        total = sums(x, g)
    else:
        x, g = blocks(block, x, g)
        zeros = [jnp.zeros((x.shape[1], x.shape[-1]), x.dtype)] * math.prod(window.kernel)
        total, _ = lax.scan(step, zeros, (x, g))
    return jnp.stack(total).sum(1).reshape(*window.kernel, 1, -1)


def blocks(block: int, *images: jax.Array) -> list[jax.Array]:
    """Returns each of `images` [N, ...] as [N / size, size, ...], `size` not above `block`."""
    size = block_size(len(images[0]), block)
    return [x.reshape(-1, size, *x.shape[1:]) for x in images]


def blockwise(block: int, form: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Returns form(images), of not more than `block` at a time; all of them at once takes no loop."""
    if block >= len(images):
        return form(images)
    (parts,) = blocks(block, images)
    results = lax.map(form, parts)
    return results.reshape(-1, *results.shape[2:])


def sum_of_products(shifts: list[jax.Array], kernel: jax.Array) -> jax.Array:
    """Returns the sum [N, h, w, C] of kh * kw shifted images, each times its entry of `kernel` [kh, kw, 1, C]."""
    return sum(shift * weight for shift, weight in zip(shifts, kernel.reshape(-1, kernel.shape[-1]), strict=True))


def sum_together(arrays: list[jax.Array]) -> list[jax.Array]:
    """Returns the sums [N, C] over height and width of arrays [N, H, W, C], all of them in one loop."""
    zero = jnp.zeros((), arrays[0].dtype)
    return lax.reduce(arrays, [zero] * len(arrays), lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (1, 2))
