"""Pooling over square windows, as sums and maxima of shifted images.

So it can be differentiated as often as one likes, and fast on a CPU, where the gradient of XLA's own windowed
maximum takes seventy times as long.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rnas.layers.window import Pair, Window


def square(size: int, stride: int, padding: int) -> Window:
    """Returns a window of `size` by `size` pixels that moves by `stride` over `padding` pixels on every side."""
    return Window((size, size), (stride, stride), ((padding, padding), (padding, padding)), (1, 1), 1)


def average_pool(x: jax.Array, stride: int = 1, *, size: int = 3, padding: int = 1) -> jax.Array:
    """Returns the mean [N, h, w, C] of the pixels of `x` [N, H, W, C] under the window; padding does not count."""
    window = square(size, stride, padding)
    counts = _pixels_seen(window, x.shape[1:3])
    return sum(window.shifts(x)) * jnp.asarray(1.0 / counts, x.dtype)[None]


def _pixels_seen(window: Window, shape: Pair) -> np.ndarray:
    """Returns how many pixels [h, w, 1] of an image of that shape the window sees from each of its positions."""
    (size, _), (stride, _), ((padding, _), _), *_ = window
    rows, columns = (
        np.minimum(first + size, length) - np.maximum(first, 0)
        for length in shape
        for first in [np.arange(-padding, length + padding - size + 1, stride)]
    )
    return rows[:, None, None] * columns[None, :, None]


def max_pool(x: jax.Array, stride: int = 1, *, size: int = 3, padding: int = 1) -> jax.Array:
    """Returns the largest pixel [N, h, w, C] of `x` [N, H, W, C] under the window.

    Of equals the first, row by row, takes the gradient.
    """
    return _max_pool(square(size, stride, padding), x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _max_pool(window: Window, x: jax.Array) -> jax.Array:
    return _best(window, x)[0]


@_max_pool.defjvp
def _max_pool_jvp(window, primals, tangents):
    best, winner = _best(window, *primals)
    (tangent,) = tangents
    return best, sum(jnp.where(winner == entry, shift, 0) for entry, shift in enumerate(window.shifts(tangent)))


def _best(window, x):
    """Returns the largest pixels, and which entry of the window saw each."""
    best, *others = window.shifts(x, -jnp.inf)
    winner = jnp.zeros(best.shape, jnp.int8)
    for entry, seen in enumerate(others, start=1):
        better = seen > best
        best, winner = jnp.where(better, seen, best), jnp.where(better, jnp.int8(entry), winner)
    return best, winner
