"""The shortest vector in the convex hull of gradients: a direction that worsens no objective.

Descending along it is the multiple-gradient descent of Désidéri (Comptes Rendus Mathématique 350, 2012). The vector
is zero exactly where no direction improves all objectives at first order (Pareto-stationary points).
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

PyTree = Any

STEPS = 250  # of Frank-Wolfe, for more than two objectives
EQUAL = 1e-12  # squared distance of two gradients, relative to their squared lengths, below which they count as one


def min_norm_weights(gradients: Sequence[PyTree]) -> jax.Array:
    """Returns weights c [n], not negative and of sum 1, that minimise ‖Σ_k c_k·g_k‖.

    Two gradients have a closed form, c_1 = clip(⟨g_2 − g_1, g_2⟩ / ‖g_2 − g_1‖², 0, 1), used by ARNAS (arXiv
    2405.05502); where they are equal all weights do, and ½ is taken. More are solved by Frank-Wolfe with exact line
    search (Sener & Koltun, arXiv 1810.04650, algorithm 2), from equal weights, in its pairwise form: weight moves
    from the worst objective that has some to the best one, which converges linearly (Lacoste-Julien & Jaggi, arXiv
    1511.05932).

    Args:
      gradients: n pytrees of one structure.
    """
    vectors = jnp.stack([_flat(gradient) for gradient in gradients])
    # Scaled by the longest, so that no product over- or underflows; the weights do not depend on it.
    largest = jnp.max(jnp.abs(vectors))
    vectors = vectors / jnp.where(largest > 0, largest, 1.0)
    if len(gradients) == 1:
        return jnp.ones(1, vectors.dtype)
    if len(gradients) == 2:
        return _shares(vectors[0], vectors[1])

    products = jnp.matmul(vectors, vectors.T, precision=lax.Precision.HIGHEST)

    def step(_, weights):
        slopes = products @ weights
        to, giver = jnp.argmin(slopes), jnp.argmax(jnp.where(weights > 0, slopes, -jnp.inf))
        curvature = products[to, to] + products[giver, giver] - 2 * products[to, giver]
        amount = (slopes[giver] - slopes[to]) / jnp.where(curvature > 0, curvature, jnp.inf)
        amount = jnp.clip(amount, 0.0, weights[giver])
        return weights.at[to].add(amount).at[giver].add(-amount)

    start = jnp.full(len(gradients), 1 / len(gradients), vectors.dtype)
    return lax.fori_loop(0, STEPS, step, start)


def min_norm_direction(gradients: Sequence[PyTree]) -> tuple[PyTree, jax.Array]:
    """Returns (the shortest vector, in the structure of a gradient, and its weights [n])."""
    weights = min_norm_weights(gradients)
    mixed = jax.tree.map(lambda *leaves: sum(w * leaf for w, leaf in zip(weights, leaves, strict=True)), *gradients)
    return mixed, weights


def _flat(tree: PyTree) -> jax.Array:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _shares(one: jax.Array, other: jax.Array) -> jax.Array:
    """Weights [2] of the shortest vector between two."""
    apart = other - one
    # Sums rather than products of matrices, which accelerators round coarsely.
    distance = jnp.sum(jnp.square(apart))
    equal = distance <= EQUAL * (jnp.sum(jnp.square(one)) + jnp.sum(jnp.square(other)))
    shares = jnp.stack([jnp.sum(apart * other), -jnp.sum(apart * one)]) / jnp.where(equal, 1.0, distance)
    # The smaller one has a numerator of its own: as 1 - share it would be lost to rounding, and a gradient that is a
    # thousand times longer than the other needs it.
    smaller = jnp.where(equal, 0.5, jnp.clip(jnp.min(shares), 0.0, 0.5))
    pair = jnp.stack([smaller, 1.0 - smaller])
    return jnp.where(shares[0] < shares[1], pair, pair[::-1])
