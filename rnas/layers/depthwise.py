"""Depthwise convolution, on a CPU as a sum of shifted products.

y = sum_ij shift_ij(pad(x)) w_ij is one elementwise loop; its gradient to x is the same with the kernel turned
round, and that to w is kh * kw sums taken together in one pass. All of it goes over a few images at a time:
that keeps them in the cache, and keeps XLA from working out what comes before and after once for every entry
of the kernel.
"""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.window import Window, block_size

BLOCK = 8  # images at a time: enough for every core, few enough for the cache


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def depthwise(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns each channel of `x` [N, H, W, C] convolved with its own `kernel` [kh, kw, 1, C]."""
    return _forward(window, x, kernel)[0]


def _forward(window, x, kernel):
    def blockwise(x, kernel):
        return joined(lax.map(lambda x: shifted_products(window, x, kernel), blocks(x)))

    return lax.platform_dependent(x, kernel, cpu=blockwise, default=window.native), (x, kernel)


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

    return lax.platform_dependent(x, kernel, g, cpu=blockwise, default=native)


depthwise.defvjp(_forward, _backward)


def blocks(images: jax.Array) -> jax.Array:
    """Returns images [N, ...] as [N / block, block, ...]."""
    return images.reshape(-1, block_size(len(images), BLOCK), *images.shape[1:])


def joined(blocks: jax.Array) -> jax.Array:
    """Returns blocks [N / block, block, ...] as [N, ...]."""
    return blocks.reshape(-1, *blocks.shape[2:])


def shifted_products(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution as a sum of products; arguments as those of `depthwise`."""
    return sum(
        shift * weight for shift, weight in zip(window.shifts(x), kernel.reshape(-1, kernel.shape[-1]), strict=True)
    )


def products_back(window: Window, g: jax.Array, kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Returns the gradient to the images, of the shape of `x`, from that to the result, `g`."""
    # Where the window strides, g is spread out first; then its sum of products has the kernel turned round.
    spread = [(size - 1) * stride + 1 for size, stride in zip(g.shape[1:3], window.strides, strict=True)]
    g = lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *((0, 0, stride - 1) for stride in window.strides), (0, 0, 0)))
    padding = tuple(
        (reach - before, size + before - width)
        for reach, (before, _), size, width in zip(window.reach, window.padding, x.shape[1:3], spread, strict=True)
    )
    return shifted_products(window._replace(padding=padding, strides=(1, 1)), g, kernel[::-1, ::-1])


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
