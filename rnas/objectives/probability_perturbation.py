"""Perturbed operation probabilities, at which SmoothDARTS trains its weights (arXiv 2002.05283).

Probabilities are a pytree of tables [edges, operations] whose rows sum to 1.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

PyTree = Any


def on_simplex(tables: PyTree) -> PyTree:
    """Clips every entry to [0, 1] and scales each row to the sum 1; a row of zeros puts all on its largest entry."""

    def restore(table: jax.Array) -> jax.Array:
        clipped = jnp.clip(table, 0.0, 1.0)
        total = jnp.sum(clipped, -1, keepdims=True)
        most = jax.nn.one_hot(jnp.argmax(table, -1), table.shape[-1], dtype=table.dtype)
        return jnp.where(total > 0, clipped / jnp.where(total > 0, total, 1.0), most)

    return jax.tree.map(restore, tables)


def uniform_noise(key: jax.Array, tables: PyTree, radius: jax.Array) -> PyTree:
    """Draws U(−radius, radius) for every entry."""
    leaves, structure = jax.tree.flatten(tables)
    keys = jax.random.split(key, len(leaves))
    noise = [
        jax.random.uniform(k, leaf.shape, leaf.dtype, -radius, radius) for k, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, noise)


def uniform_perturbation(key: jax.Array, tables: PyTree, radius: jax.Array) -> PyTree:
    """Returns probabilities moved at random within `radius` (SDARTS-RS)."""
    return on_simplex(jax.tree.map(jnp.add, tables, uniform_noise(key, tables, radius)))


def adversarial_perturbation(
    loss_fn: Callable[[PyTree], jax.Array],
    key: jax.Array,
    tables: PyTree,
    radius: jax.Array,
    *,
    steps: int = 7,
    average: Callable[[PyTree], PyTree] = lambda tree: tree,
) -> PyTree:
    """Returns probabilities near `tables` at which the loss is higher (SDARTS-ADV).

    `steps` signed steps of 2·radius/steps from a random start, each clipped to `radius` around `tables` and put back on
    the simplex, which may take an entry a little further. Where the loss has not risen by the end, `tables` come back.

    Args:
      loss_fn: probabilities → scalar loss of this replica.
      average: mean over the replicas, of slopes and losses: all of them take one perturbation. A mean inside of
        `loss_fn` does not do, since its derivative is that of the replica's own term.
    """

    def step(_, moved: PyTree) -> PyTree:
        slopes = average(jax.grad(loss_fn)(moved))

        def move(table: jax.Array, at: jax.Array, slope: jax.Array) -> jax.Array:
            return jnp.clip(at + 2 * radius / steps * jnp.sign(slope), table - radius, table + radius)

        return on_simplex(jax.tree.map(move, tables, moved, slopes))

    moved = lax.stop_gradient(lax.fori_loop(0, steps, step, uniform_perturbation(key, tables, radius)))
    after, before = average((loss_fn(moved), loss_fn(tables)))
    return jax.tree.map(lambda at, table: jnp.where(after > before, at, table), moved, tables)
