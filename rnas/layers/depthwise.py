"""Depthwise convolution, on a CPU as a sum of shifted products.

y = sum_ij shift_ij(pad(x)) w_ij is one elementwise loop; its gradient to x is the same with the kernel turned
round, and that to w is kh * kw sums taken together in one pass. All of it goes over a few images at a time:
that keeps them in the cache, and keeps XLA from working out what comes before and after once for every entry
of the kernel.
"""

from collections.abc import Callable
import functools
import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.window import Window, block_size

BLOCK = 8  # images at a time: enough for every core, few enough for the cache


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def depthwise(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns each channel of `x` [N, H, W, C] convolved with its own `kernel` [kh, kw, 1, C].

    With one more axis before all others, [B, N, H, W, C] and [B, kh, kw, 1, C], it is B such convolutions.
    """
    return _forward(window, x, kernel)[0]


def _forward(window, x, kernel):
    def blockwise(x, kernel):
        return joined(lax.map(lambda x: shifted_products(window, x, kernel), blocks(x)))

    return by_platform(blockwise, window.native, x, kernel), (x, kernel)


def _backward(window, residuals, g):
    x, kernel = residuals

    def blockwise(x, kernel, g):
        def step(sums, block):
            x, g = block
            to_kernel = sum_together(tuple(shift * g for shift in window.shifts(x)))
            return [a + b for a, b in zip(sums, to_kernel, strict=True)], products_back(window, g, kernel, x)

        block_x, block_g = blocks(x), blocks(g)
        zeros = [jnp.zeros((block_x.shape[1], x.shape[-1]), x.dtype)] * math.prod(window.kernel)
        sums, to_x = lax.scan(step, zeros, (block_x, block_g))
        return joined(to_x), jnp.stack(sums).sum(1).reshape(kernel.shape)

    def native(x, kernel, g):
        return (
            jax.linear_transpose(lambda x: window.native(x, kernel), x)(g)[0],
            jax.linear_transpose(lambda kernel: window.native(x, kernel), kernel)(g)[0],
        )

    return by_platform(blockwise, native, x, kernel, g)


depthwise.defvjp(_forward, _backward)


def by_platform(own: Callable, native: Callable, x: jax.Array, *others: jax.Array) -> Any:
    """Returns own(x, *others) on a CPU, one convolution after the other; elsewhere native(x, *others), all at once."""
    if x.ndim == 4:
        return lax.platform_dependent(x, *others, cpu=own, default=native)

    def one_by_one(*operands):
        return lax.map(lambda one: own(*one), operands)

    return lax.platform_dependent(x, *others, cpu=one_by_one, default=jax.vmap(native))


def blocks(images: jax.Array) -> jax.Array:
    """Returns images [N, ...] as [N / block, block, ...]."""
    return images.reshape(-1, block_size(len(images), BLOCK), *images.shape[1:])


def joined(blocks: jax.Array) -> jax.Array:
    """Returns blocks [N / block, block, ...] as [N, ...]."""
    return blocks.reshape(-1, *blocks.shape[2:])


def shifted_products(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution as a sum of products; arguments as those of `depthwise`."""
    return sum_of_products(window.shifts(x), kernel)


def products_back(window: Window, g: jax.Array, kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Returns the gradient to the images, of the shape of `x`, from that to the result, `g`."""
    return sum_of_products(window.shifts_back(g, x.shape[1:3]), kernel[::-1, ::-1])


def sum_of_products(shifts: list[jax.Array], kernel: jax.Array) -> jax.Array:
    """Returns the sum [N, h, w, C] of kh * kw shifted images, each times its entry of `kernel` [kh, kw, 1, C]."""
    return sum(shift * weight for shift, weight in zip(shifts, kernel.reshape(-1, kernel.shape[-1]), strict=True))


@jax.custom_jvp
def sum_together(arrays: tuple[jax.Array, ...]) -> list[jax.Array]:
    """Returns the sums [N, C] over height and width of arrays [N, H, W, C], all of them in one loop."""
    zero = jnp.zeros((), arrays[0].dtype)
    return lax.reduce(
        list(arrays), [zero] * len(arrays), lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (1, 2)
    )


@sum_together.defjvp
def _sum_together_jvp(primals, tangents):
    # The rule JAX has for reductions of many arrays is a tree of slices; each sum is linear on its own.
    return sum_together(*primals), [tangent.sum((1, 2)) for tangent in tangents[0]]
