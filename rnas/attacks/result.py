"""What an attack found."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = jax.Array | np.ndarray


class AttackResult(NamedTuple):
    """One row per example; nothing in it carries a gradient. On the host its arrays are those of NumPy.

    Attributes:
      images: [N, ...], the latest image seen that fools the model; where none does, the clean input, bit for bit.
      success: bool [N], whether any image seen was misclassified, starts included.
      loss: [N], the highest value the attack's loss reached.
      queries: int32 [N], images of this example shown to the model.
      last_success: bool [N], whether the final iterate (of any restart) was misclassified, as papers count.
    """

    images: Array
    success: Array
    loss: Array
    queries: Array
    last_success: Array


def unseen(images: jax.Array) -> AttackResult:
    """Returns the result of an attack on `images` [N, ...] that has not looked at anything yet."""
    count = len(images)
    none = jnp.zeros(count, bool)
    return AttackResult(images, none, jnp.full(count, -jnp.inf, images.dtype), jnp.zeros(count, jnp.int32), none)


def seen(result: AttackResult, points: jax.Array, fooled: jax.Array, loss: jax.Array) -> AttackResult:
    """Adds one evaluation: the model saw `points` [N, ...], was `fooled` [N] by some, at `loss` [N]."""
    mask = fooled.reshape(fooled.shape + (1,) * (points.ndim - 1))
    return AttackResult(
        images=jnp.where(mask, points, result.images),
        success=result.success | fooled,
        loss=jnp.fmax(result.loss, loss.astype(result.loss.dtype)),
        queries=result.queries + 1,
        last_success=fooled,
    )
