"""Activations that jax.nn does not have in this form."""

import jax
import jax.numpy as jnp


def hswish(x: jax.Array) -> jax.Array:
    """Hard swish x * clip(x + 3, 0, 6) / 6, elementwise (Howard et al. 2019, arXiv 1905.02244)."""
    return x * jnp.clip(x + 3.0, 0.0, 6.0) * (1.0 / 6.0)
