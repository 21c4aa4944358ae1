"""The smallest move that takes a point of the pixel box onto a hyperplane without leaving the box.

Each of the three norms leaves one unknown number per point, a root of a monotone piecewise linear function. Sorting the
breakpoints would give it, but sorting rows is what computers do worst here; both searches below find the same number by
a few passes over the row, and end exactly on the piece that holds it.
"""

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.epsilon_parsing import check_norm

FLAT = 1e-8  # L2 and L1: coordinates along which the hyperplane tilts less than this stay where they are


def onto_hyperplane(points: jax.Array, w: jax.Array, b: jax.Array, norm: str) -> jax.Array:
    """Returns the smallest moves d with w · (point + d) = b and point + d in [0, 1].

    This is the projection step of FAB (Croce & Hein 2020, arXiv 1907.02044, section 2) in one of the three norms, from
    `points` [..., D] in [0, 1]; leading axes of normals `w` [..., D] and offsets `b` [...] broadcast against theirs.
    Where the box does not reach the hyperplane the move goes to the corner nearest to it; where w = 0 there is none.
    Where L1 leaves a choice, coordinates that tilt alike move by equal shares of the room they have.
    """
    check_norm(norm)
    excess = jnp.sum(w * points, axis=-1) - b
    # Moving against `tilt` lowers the excess to 0, at a rate of |tilt| per unit of length.
    tilt = jnp.where(excess >= 0, 1.0, -1.0)[..., None] * w
    rate, need = jnp.abs(tilt), jnp.abs(excess)
    room = jnp.where(tilt > 0, points, 1.0 - points)
    room = jnp.where((rate == 0) if norm == "linf" else (rate < FLAT), 0.0, room)
    if norm == "linf":
        length = jnp.minimum(room, level(room, rate, need)[..., None])
    elif norm == "l2":
        reach = room / jnp.maximum(rate, FLAT)
        length = rate * jnp.minimum(reach, level(reach, rate**2, need)[..., None])
    else:
        length = room * steepest_first(room, rate, need)
    return -jnp.sign(tilt) * length


def level(reach: jax.Array, weight: jax.Array, need: jax.Array) -> jax.Array:
    """Returns the level λ [...] at which Σ weight · min(reach, λ) = need; above every reach where none does.

    With `reach` and `weight` [..., D] and `need` [...] not negative, the sum is concave and piecewise linear in λ, so
    Newton's method from 0 approaches the root from below, passes at least one breakpoint a step, and is done as soon as
    it stays on one piece: after 4 or 5 steps as a rule.
    """

    def newton(state):
        last, _ = state
        free = reach > last[..., None]
        slope = jnp.sum(jnp.where(free, weight, 0.0), axis=-1)
        settled = jnp.sum(jnp.where(free, 0.0, weight * reach), axis=-1)
        # Rounding must not lead back; a finished row repeats its value until the others are finished.
        root = jnp.maximum(last, (need - settled) / jnp.where(slope > 0, slope, jnp.inf))
        return root, jnp.any(root > last)

    return lax.while_loop(lambda state: state[1], newton, (jnp.zeros_like(need), True))[0]


def steepest_first(room: jax.Array, rate: jax.Array, need: jax.Array) -> jax.Array:
    """Returns the shares of `room` [..., D] to use if coordinates of the highest `rate` go first, until need is met.

    The rate of those that go last is found bit by bit: floats that are not negative are ordered as the integers that
    have the same bits.
    """
    bits = 8 * rate.dtype.itemsize - 1  # all but the sign
    order = lax.bitcast_convert_type(rate, f"int{bits + 1}")
    gain = rate * room

    def refine(step, last):
        trial = last | (jnp.ones_like(last) << (bits - 1 - step))
        enough = jnp.sum(jnp.where(order >= trial[..., None], gain, 0.0), axis=-1) >= need
        return jnp.where(enough, trial, last)

    last = lax.fori_loop(0, bits, refine, jnp.zeros(need.shape, order.dtype))[..., None]
    before = jnp.sum(jnp.where(order > last, gain, 0.0), axis=-1, keepdims=True)
    at_last = jnp.where(order == last, gain, 0.0)
    available = jnp.sum(at_last, axis=-1, keepdims=True)
    share = jnp.clip((need[..., None] - before) / jnp.where(available > 0, available, jnp.inf), 0.0, 1.0)
    return jnp.where(order > last, 1.0, jnp.where(order == last, share, 0.0))
