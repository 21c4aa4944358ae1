"""Pooling over square windows, as sums and maxima of shifted images.

So it can be differentiated as often as one likes, and fast on a CPU, where the gradient of XLA's own windowed
maximum takes seventy times as long.
"""

import functools

import jax
import jax.numpy as jnp

from rnas.layers.window import Pair, Window


def square(size: int, stride: int, padding: int) -> Window:
    """Returns a window of `size` by `size` pixels that moves by `stride` over `padding` pixels on every side."""
    return Window((size, size), (stride, stride), ((padding, padding), (padding, padding)), (1, 1), 1)


@functools.partial(jax.jit, static_argnames=("stride", "size", "padding"))
def average_pool(x: jax.Array, stride: int = 1, *, size: int = 3, padding: int = 1) -> jax.Array:
    """Returns the mean [N, h, w, C] of the pixels of `x` [N, H, W, C] under the window; padding does not count."""
    window = square(size, stride, padding)
    pixels = sum(window.shifts(jnp.ones((1, *x.shape[1:3], 1), x.dtype)))
    return _sum_pool(window, x.shape[1:3], x) / pixels


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sum_pool(window: Window, size: Pair, x: jax.Array) -> jax.Array:
    return sum(window.shifts(x))


def _sum_pool_forward(window, size, x):
    return sum(window.shifts(x)), None


def _sum_pool_backward(window, size, _, g):
    return (sum(window.shifts_back(g, size)),)


_sum_pool.defvjp(_sum_pool_forward, _sum_pool_backward)


@functools.partial(jax.jit, static_argnames=("stride", "size", "padding"))
def max_pool(x: jax.Array, stride: int = 1, *, size: int = 3, padding: int = 1) -> jax.Array:
    """Returns the largest pixel [N, h, w, C] of `x` [N, H, W, C] under the window.

    Of equals the first, row by row, takes the gradient.
    """
    return _max_pool(square(size, stride, padding), x.shape[1:3], x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _max_pool(window: Window, size: Pair, x: jax.Array) -> jax.Array:
    return _max_pool_forward(window, size, x)[0]


def _max_pool_forward(window, size, x):
    best, *others = window.shifts(x, -jnp.inf)
    winner = jnp.zeros(best.shape, jnp.int8)
    for entry, seen in enumerate(others, start=1):
        better = seen > best
        best, winner = jnp.where(better, seen, best), jnp.where(better, jnp.int8(entry), winner)
    return best, winner


def _max_pool_backward(window, size, winner, g):
    winners, gradients = window.shifts_back(winner, size, -1), window.shifts_back(g, size)
    entries = reversed(range(len(winners)))
    return (sum(jnp.where(won == i, given, 0) for i, won, given in zip(entries, winners, gradients, strict=True)),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)
