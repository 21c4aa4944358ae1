"""Distances between predictions, one number per example [N], unreduced, in nats; logits are [N,K].

Gradients flow into both arguments, but never into what is named a teacher.
"""

import jax
from jax import lax
import jax.numpy as jnp


def kl_divergence(target_logits: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns KL(p‖q) = Σ_c p_c·(log p_c - log q_c), p and q the softmax of target and logits, in this order."""
    log_p, log_q = jax.nn.log_softmax(target_logits), jax.nn.log_softmax(logits)
    p = jnp.exp(log_p)
    # A class without probability adds nothing, even where its log-probability is -inf.
    return jnp.sum(p * jnp.where(p > 0, log_p - log_q, 0.0), axis=-1)


def taught_divergence(teacher_logits: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns the divergence of a student from its teacher."""
    return kl_divergence(lax.stop_gradient(teacher_logits), logits)


def softened_divergence(teacher_logits: jax.Array, logits: jax.Array, temperature: float) -> jax.Array:
    """Returns τ²·KL(softmax(t/τ)‖softmax(z/τ)) (Hinton et al., arXiv 1503.02531).

    τ² keeps the size of the gradient in z: it tends to (z - t)/K, both centred, as τ grows.
    """
    return temperature**2 * taught_divergence(teacher_logits / temperature, logits / temperature)


def squared_distance(target_logits: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns ‖softmax(logits) - softmax(target_logits)‖²."""
    return jnp.sum(jnp.square(jax.nn.softmax(logits) - jax.nn.softmax(target_logits)), axis=-1)
