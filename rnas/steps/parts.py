"""What every step is made of: the replica axis, keys, augmentation, and metrics as sums."""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from rnas.steps import augment
from rnas.steps.state import State

AXIS = "batch"
NEVER = np.int32(np.iinfo(np.int32).max)  # "no step left anything that is not finite"

PyTree = Any
Step = Callable[..., tuple[State, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random crop after zero padding by `padding` pixels, a mirror image half of the time if `flip`, and a blank
    square of side `cutout`."""

    padding: int
    flip: bool
    cutout: int = 0


class Keys(NamedTuple):
    """Keys of one step: the first two shared by all replicas, the others one per example."""

    architecture: jax.Array
    tutors: jax.Array
    attack: jax.Array
    augment: jax.Array
    drop_path: jax.Array


def step_keys(root: jax.Array, step: jax.Array, examples: int) -> Keys:
    """Derives the keys of `step`; `examples` is the number of them on this replica."""
    architecture, tutors, *others = jax.random.split(jax.random.fold_in(root, step), len(Keys._fields))
    positions = lax.axis_index(AXIS) * examples + jnp.arange(examples)
    per_example = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return Keys(architecture, tutors, *(per_example(key, positions) for key in others))


def varied(augmentation: Augmentation, keys: jax.Array, images: jax.Array) -> jax.Array:
    """Images [N,H,W,C] of any type, cropped, mirrored, partly blanked; by keys [N], one an image."""
    both = jax.vmap(jax.random.split)(keys)
    if augmentation.padding:
        images = augment.random_crop(both[:, 0], images, augmentation.padding)
    if augmentation.flip:
        images = augment.random_flip(both[:, 1], images)
    if augmentation.cutout:
        images = augment.cutout(jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 2), images, augmentation.cutout)
    return images


def augmented(augmentation: Augmentation, keys: jax.Array, images: jax.Array) -> jax.Array:
    """uint8 [N,H,W,C] → cropped, mirrored, partly blanked float32 in [0, 1]."""
    return augment.to_float(varied(augmentation, keys, images))


def reduced(terms: dict[str, jax.Array], step: jax.Array, updated: PyTree) -> dict[str, jax.Array]:
    """Float32 sums over all examples of all replicas, their count, and the step if loss or `updated` are not finite."""
    examples = terms["loss"].shape[0]
    sums = {name: jnp.sum(jnp.broadcast_to(value, (examples,)), dtype=jnp.float32) for name, value in terms.items()}
    sums["count"] = jnp.float32(examples)
    sums = lax.psum(sums, AXIS)
    # A finite loss may still have a gradient that is not: its weights must not reach a checkpoint.
    finite = jnp.isfinite(sums["loss"]) & jnp.isfinite(optax.tree.sum(updated))
    sums["nonfinite_step"] = jnp.where(finite, NEVER, step)
    return sums
