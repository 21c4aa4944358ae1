"""Distillation from a teacher's logits."""

import jax
import jax.numpy as jnp


def kl_divergence(target_logits: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns KL(p‖q) = Σ_c p_c·(log p_c - log q_c) per example [N], in nats.

    Gradients flow into both arguments: stop them where the target is a constant.

    Args:
      target_logits: [N,K], p = softmax(target_logits), the teacher (RNAS-CL, arXiv 2301.08092, eq. 2 and 3).
      logits: [N,K], q = softmax(logits), the student.
    """
    log_p, log_q = jax.nn.log_softmax(target_logits), jax.nn.log_softmax(logits)
    p = jnp.exp(log_p)
    # A class without probability adds nothing, even where its log-probability is -inf.
    return jnp.sum(p * jnp.where(p > 0, log_p - log_q, 0.0), axis=-1)
