"""Norm balls inside the pixel box: projection, direction of steepest ascent, distances.

All functions treat the first axis as the batch and never mix examples. They are applied to iterates, never
differentiated.
"""

import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.result import Array

TINY = 1e-12  # added to norms that divide: a zero gradient then means no step
HALVINGS = 26  # leave an interval below the float32 resolution of what is halved


def distance(difference: jax.Array, norm: str) -> jax.Array:
    """Returns the `'linf'`, `'l2'` or `'l1'` norm [N] of every example of `difference` [N, ...]."""
    rows = difference.reshape(len(difference), math.prod(difference.shape[1:]))
    return jnp.linalg.norm(rows, {"linf": jnp.inf, "l2": 2, "l1": 1}[norm], axis=1)


def over(value: Array, like: Array) -> Array:
    """Shapes one number per example, [N], so that it multiplies `like` [N, ...]."""
    return value.reshape(value.shape + (1,) * (like.ndim - 1))


def select(mask: Array, new: Any, old: Any) -> Any:
    """Returns the examples of `new` where `mask` [N] is true, else those of `old`, both pytrees of arrays [N, ...]."""
    return jax.tree.map(lambda new, old: jnp.where(over(mask, new), new, old), new, old)


def project(points: jax.Array, images: jax.Array, epsilon: jax.Array | float, norm: str) -> jax.Array:
    """Moves `points` [N, ...] into the 'linf' or 'l2' ball around `images` in [0, 1], and then into [0, 1].

    For Linf this is the nearest point of the intersection. For L2 the perturbation is shortened first and clipped
    afterwards, which stays in the ball because `images` lie in the box, and is what evaluations use.
    """
    if norm == "linf":
        points = jnp.clip(points, images - epsilon, images + epsilon)
    else:
        move = points - images
        length = distance(move, "l2")
        points = images + move * over(jnp.minimum(length, epsilon) / (length + TINY), move)
    return jnp.clip(points, 0.0, 1.0)


def project_l1(points: jax.Array, images: jax.Array, epsilon: jax.Array | float) -> jax.Array:
    """Returns the nearest image to each of `points` with ‖· - images‖₁ <= epsilon and pixels in [0, 1].

    Proposition 2.1 of Croce & Hein 2021 (arXiv 2103.01208): with u = points - images and c the room left to the box on
    the side of u, the move is sign(u) · clip(|u| - λ, 0, c), where λ = 0 if that has length at most `epsilon`, and else
    gives it that length. Pixels projected away equal those of `images` bit for bit, so that `!= 0` counts moves. The
    length is right up to the rounding of a float32 sum; aim a millionth lower where the radius must be kept strictly.
    """
    if images.size == 0:
        return images
    move, rows = (array.reshape(len(images), -1) for array in (points - images, images))
    room = jnp.where(move > 0, 1 - rows, rows)
    size = jnp.abs(move)

    def shrunk(by):
        return jnp.clip(size - by[:, None], 0, room)

    def too_long(by):
        return jnp.sum(shrunk(by), axis=1) > epsilon

    def halve(_, bounds):
        # Sorting the corners of this falling function solves it in closed form, but takes many times longer.
        low, high = bounds
        middle = 0.5 * (low + high)
        long = too_long(middle)
        return jnp.where(long, middle, low), jnp.where(long, high, middle)

    nothing = jnp.zeros(len(size), size.dtype)
    _, enough = lax.fori_loop(0, HALVINGS, halve, (nothing, jnp.max(size, axis=1)))
    moved = shrunk(jnp.where(too_long(nothing), enough, nothing))
    # λ is rounded, by as much as all pixels that move together notice.
    moved *= jnp.minimum(1, epsilon / (jnp.sum(moved, axis=1) + TINY))[:, None]
    return images + (jnp.sign(move) * moved).reshape(images.shape)


def direction(gradient: jax.Array, norm: str) -> jax.Array:
    """Returns the unit step in `norm` along which a linear function rises most; 0 where `gradient` is 0."""
    if norm == "linf":
        return jnp.sign(gradient)
    return gradient / over(distance(gradient, "l2") + TINY, gradient)
