"""Norm balls inside the pixel box: projection, direction of steepest ascent, distances.

All functions treat the first axis as the batch and never mix examples. They are applied to iterates, never
differentiated.
"""

import math

import jax
import jax.numpy as jnp

from rnas.attacks.result import Array

TINY = 1e-12  # added to norms that divide: a zero gradient then means no step


def distance(difference: jax.Array, norm: str) -> jax.Array:
    """Returns the `'linf'`, `'l2'` or `'l1'` norm [N] of every example of `difference` [N, ...]."""
    rows = difference.reshape(len(difference), math.prod(difference.shape[1:]))
    return jnp.linalg.norm(rows, {"linf": jnp.inf, "l2": 2, "l1": 1}[norm], axis=1)


def over(value: Array, like: Array) -> Array:
    """Shapes one number per example, [N], so that it multiplies `like` [N, ...]."""
    return value.reshape(value.shape + (1,) * (like.ndim - 1))


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


def direction(gradient: jax.Array, norm: str) -> jax.Array:
    """Returns the unit step in `norm` along which a linear function rises most; 0 where `gradient` is 0."""
    if norm == "linf":
        return jnp.sign(gradient)
    return gradient / over(distance(gradient, "l2") + TINY, gradient)
