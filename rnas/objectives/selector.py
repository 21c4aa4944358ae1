"""Selection among options by Gumbel-softmax, with a temperature that falls over the epochs.

Widths of blocks and tutors of student layers are chosen alike (RNAS-CL, arXiv 2301.08092; Jang et al.,
arXiv 1611.01144).
"""

import jax
from jax import lax
import jax.numpy as jnp


def gumbel_softmax(key: jax.Array, logits: jax.Array, temperature: float | jax.Array, hard: bool = False) -> jax.Array:
    """Returns softmax((logits + G)/temperature) over the last axis, G ~ Gumbel(0, 1) drawn from `key`.

    Args:
      key: one key; rows of `logits` get independent noise.
      logits: [..., n], floating.
      temperature: positive, may be traced. Gradients grow like its inverse.
      hard: straight-through, a one-hot vector at the largest entry with the gradient of the soft sample.

    Returns:
      [..., n], rows sum to 1.
    """
    soft = jax.nn.softmax((logits + jax.random.gumbel(key, logits.shape, logits.dtype)) / temperature)
    if not hard:
        return soft
    # The bracket is exactly zero, so the value is exactly one-hot.
    return jax.nn.one_hot(choose(soft), soft.shape[-1], dtype=soft.dtype) + (soft - lax.stop_gradient(soft))


def temperature(epoch: jax.Array | int, start: float, decay: float, minimum: float) -> jax.Array:
    """Returns max(start·exp(-decay·epoch), minimum), `decay` per epoch, epochs counted from 0."""
    return jnp.maximum(start * jnp.exp(-decay * jnp.asarray(epoch, float)), minimum)


def choose(logits: jax.Array) -> jax.Array:
    """Returns the index [...] of the largest of logits [..., n], the lowest such index where several tie."""
    return jnp.argmax(logits, axis=-1)
