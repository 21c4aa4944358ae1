"""Random keys of one step: some the same on all replicas, the others one per example of the global batch."""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rnas.steps.replicas import AXIS


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
