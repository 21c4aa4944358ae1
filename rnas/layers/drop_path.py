"""Dropping whole paths of a network, example by example."""

import jax
import jax.numpy as jnp


def drop_path(x: jax.Array, keys: jax.Array, rate: jax.Array | float) -> jax.Array:
    """Returns `x` with each example zeroed with a probability, and scaled so that its expectation stays.

    Source: Larsson et al. 2016 (arXiv 1605.07648), in the form of DARTS (arXiv 1806.09055).

    Args:
      x: [N, ...].
      keys: one random key per example [N].
      rate: probability of zeroing, in [0, 1).
    """
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate))(keys)
    factor = jnp.where(kept, 1.0 / (1.0 - rate), 0.0).astype(x.dtype)
    return x * factor.reshape(-1, *(1,) * (x.ndim - 1))
