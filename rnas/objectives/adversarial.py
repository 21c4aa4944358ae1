"""Losses of robust training: one number per example, from logits of the clean and of the attacked image.

Logits are [N,K], labels integers [N], results [N], unreduced, in nats. p = softmax(clean logits), q =
softmax(adversarial logits). KL divergences sum over the classes; some public codes divide by K as well.
These functions stop no gradient but the teacher's; that attacked images carry none is the attack's affair.
"""

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.losses import at, cross_entropy, others
from rnas.objectives.distillation import kl_divergence

__all__ = ["cross_entropy", "mart_loss", "pgd_at_loss", "rslad_loss", "trades_loss"]


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


def rslad_loss(
    teacher_logits: jax.Array, clean_logits: jax.Array, adversarial_logits: jax.Array, kl_scale: float = 1.0
) -> jax.Array:
    """Returns kl_scale·(5/6·KL(t‖q) + 1/6·KL(t‖p)), t = softmax(teacher_logits) (RSLAD, arXiv 2108.07969).

    The teacher sees clean images and receives no gradient; labels are not used.

    Args:
      teacher_logits, clean_logits, adversarial_logits: [N,K].
      kl_scale: 1 sums over the classes. The public code averages over them, 1/10 on CIFAR-10, and multiplies
        by 10 on CIFAR-100: 1/10 reproduces both.
    """
    teacher_logits = lax.stop_gradient(teacher_logits)
    attacked = kl_divergence(teacher_logits, adversarial_logits)
    return kl_scale * (5 * attacked + kl_divergence(teacher_logits, clean_logits)) / 6
