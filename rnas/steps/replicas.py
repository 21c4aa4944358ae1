"""The axis of replicas: the same program on every device, each with its share of the batch. Only steps use it.

Metrics are sums over the examples of all replicas, with their count. What fills a batch up has the label `NO_EXAMPLE`:
it has weight 0 and is not counted. Random keys are the same on all replicas, or one per example of the global batch.
"""

from typing import Any, NamedTuple

import jax
from jax import lax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
import numpy as np
import optax

AXIS = "batch"
NO_EXAMPLE = -1  # the label of what only fills a batch up
NEVER = np.int32(np.iinfo(np.int32).max)  # the step of "no step": loss and weights were finite throughout
TRAIN_METRICS = (
    "loss", "classification", "kl", "attention", "accuracy", "adversarial_accuracy", "learning_rate",
)  # fmt: skip

PyTree = Any


def mean_over_replicas(tree: PyTree) -> PyTree:
    """The mean of every leaf, by one exchange for all."""
    if lax.axis_size(AXIS) == 1:  # nothing is exchanged, so nothing need be joined
        return lax.pmean(tree, AXIS)
    joined, split = ravel_pytree(tree)
    return split(lax.pmean(joined, AXIS))


def example_weights(labels: jax.Array) -> jax.Array:
    """Weights [N] of mean 1 over all replicas, 0 of what is no example: means so weighted are those of the examples."""
    counted = (labels != NO_EXAMPLE).astype(jnp.float32)
    return counted / mean_over_replicas(counted.mean())


def metric_sums(
    terms: dict[str, jax.Array], step: jax.Array, updated: PyTree, counted: jax.Array | bool = True
) -> dict[str, jax.Array]:
    """Sums terms over the examples of all replicas.

    Args:
      terms: by name, [N] or a number for all examples; 'loss' among them.
      step: the global step.
      updated: what the step changed.
      counted: [N], which examples count.

    Returns:
      Float32 sums, their 'count', and 'nonfinite_step': the step where loss or `updated` are not finite, else `NEVER`.
    """
    examples = terms["loss"].shape
    spread = {name: jnp.broadcast_to(value, examples) for name, value in terms.items()}
    sums = {name: jnp.sum(value, dtype=jnp.float32, where=counted) for name, value in spread.items()}
    sums["count"] = jnp.sum(jnp.ones(examples), where=counted)
    joined, split = ravel_pytree(sums)
    sums = split(lax.psum(joined, AXIS))
    # A finite loss may still have a gradient that is not: its weights must not reach a checkpoint.
    finite = jnp.isfinite(sums["loss"]) & jnp.isfinite(optax.tree.sum(updated))
    sums["nonfinite_step"] = jnp.where(finite, NEVER, step)
    return sums


class Keys(NamedTuple):
    """Keys of one step."""

    architecture: jax.Array  # one key, the same on all replicas
    tutors: jax.Array  # likewise
    attack: jax.Array  # [N], one an example, as are those that follow
    augment: jax.Array
    drop_path: jax.Array


def step_keys(root: jax.Array, step: jax.Array, examples: int) -> Keys:
    """Returns the keys of the global `step`, of which this replica has N = `examples`; `root` is the stage's."""
    architecture, tutors, *others = jax.random.split(jax.random.fold_in(root, step), len(Keys._fields))
    positions = lax.axis_index(AXIS) * examples + jnp.arange(examples)
    per_example = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return Keys(architecture, tutors, *(per_example(key, positions) for key in others))
