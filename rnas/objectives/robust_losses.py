"""Losses of robust training: one number per example, from logits of the clean and of the adversarial image.

Logits are [N,K], labels integers [N], results [N], unreduced, in nats. p = softmax(clean logits), q =
softmax(adversarial logits). KL divergences sum over the classes; some public codes divide by K as well.
These functions stop no gradient. Adversarial images carry none: the attack stops it.
"""

import jax
import jax.numpy as jnp

from rnas.attacks.losses import at, cross_entropy, others
from rnas.objectives.distillation import kl_divergence

__all__ = ["cross_entropy", "mart_loss", "pgd_at_loss", "score_loss", "squared_distance", "trades_loss"]


def pgd_at_loss(adversarial_logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns -log q_y (Madry et al., arXiv 1706.06083)."""
    return cross_entropy(adversarial_logits, labels)


def trades_loss(
    clean_logits: jax.Array, adversarial_logits: jax.Array, labels: jax.Array, beta: float = 6.0
) -> jax.Array:
    """Returns -log p_y + beta·KL(p‖q) (TRADES, arXiv 1901.08573).

    The gradient flows through both arguments of the divergence.
    """
    return cross_entropy(clean_logits, labels) + beta * kl_divergence(clean_logits, adversarial_logits)


def mart_loss(
    clean_logits: jax.Array, adversarial_logits: jax.Array, labels: jax.Array, beta: float = 6.0
) -> jax.Array:
    """Returns -log q_y - log(1.0001 - max_{c≠y} q_c) + beta·KL(p‖q)·(1 - p_y) (MART, ICLR 2020).

    The gradient flows through p, also where it weighs the divergence. Logarithms of q are exact; the public
    code adds 1e-12 to q and 1e-7 to the weight, which differs only where q_c < 1e-12 or p_y rounds to 1.
    """
    log_q = jax.nn.log_softmax(adversarial_logits)
    rival = jnp.exp(at(log_q, jnp.argmax(others(log_q, labels), axis=1)))
    unsure = -jnp.expm1(at(jax.nn.log_softmax(clean_logits), labels))
    boosted = cross_entropy(adversarial_logits, labels) - jnp.log(1.0001 - rival)
    return boosted + beta * kl_divergence(clean_logits, adversarial_logits) * unsure


def score_loss(
    clean_logits: jax.Array,
    adversarial_logits: jax.Array,
    labels: jax.Array,
    beta: float = 5.0,
    smoothing: float = 0.1,
) -> jax.Array:
    """Returns ‖p - ỹ‖² + beta·‖q - p‖² (SCORE, squared error with a locally self-consistent term, arXiv 2202.10103).

    The gradient flows through both arguments of the second distance.

    Args:
      beta: no published default; 5 is that of the TRADES example in the same code.
      smoothing: s; ỹ is 1 - s at the label and s/(K - 1) elsewhere.
    """
    num_classes = clean_logits.shape[1]
    truth = jax.nn.one_hot(labels, num_classes)
    truth = (1 - smoothing) * truth + smoothing / (num_classes - 1) * (1 - truth)
    fit = jnp.sum(jnp.square(jax.nn.softmax(clean_logits) - truth), axis=-1)
    return fit + beta * squared_distance(clean_logits, adversarial_logits)


def squared_distance(target_logits: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns ‖softmax(logits) - softmax(target_logits)‖² [N]; gradients flow into both."""
    return jnp.sum(jnp.square(jax.nn.softmax(logits) - jax.nn.softmax(target_logits)), axis=-1)
