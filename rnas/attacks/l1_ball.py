"""Euclidean projection on the part of an L1 ball that lies in the pixel box (Croce & Hein, arXiv 2103.01208)."""

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.projections import TINY

HALVINGS = 26  # leave an interval below the float32 resolution of what is halved


def project_l1(points: jax.Array, images: jax.Array, epsilon: jax.Array | float) -> jax.Array:
    """Returns the nearest image to each of `points` with ‖· - images‖₁ <= epsilon and pixels in [0, 1].

    Proposition 2.1 there: with u = points - images and c the room left to the box on the side of u, the move is sign(u)
    · clip(|u| - λ, 0, c), where λ = 0 if that has length at most `epsilon`, and else gives it that length. Pixels
    projected away equal those of `images` bit for bit, so that `!= 0` counts moves. The length is right up to the
    rounding of a float32 sum; aim a millionth lower where the radius must be kept strictly.

    Args:
      points: [N, ...], anywhere; images: [N, ...], in [0, 1].
      epsilon: radius in pixel units, at least 0; may be traced.
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
