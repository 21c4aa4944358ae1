"""Distillation from teachers' logits: divergences, and the losses of robust distillation built on them.

Logits are [N,K], labels integers [N], results one number per example [N], unreduced, in nats. p = softmax(clean
logits of the student), q = softmax(adversarial logits). Losses stop the gradient at every teacher; `kl_divergence`
does not.

Several public codes average a divergence over batch and classes, so that their loss is 1/K of the one that is
printed: `kl_scale` multiplies divergences alone, and the published value of it reproduces those codes.
"""

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.losses import cross_entropy


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


def softened_divergence(teacher_logits: jax.Array, logits: jax.Array, temperature: float) -> jax.Array:
    """Returns τ²·KL(softmax(t/τ)‖softmax(z/τ)) (Hinton et al., arXiv 1503.02531).

    τ² keeps the size of the gradient in z: it tends to (z - t)/K, both centred, as τ grows.
    """
    teacher_logits = lax.stop_gradient(teacher_logits)
    return temperature**2 * kl_divergence(teacher_logits / temperature, logits / temperature)


def ard_loss(
    teacher_logits: jax.Array,
    clean_logits: jax.Array,
    adversarial_logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: float = 1.0,
    temperature: float = 30.0,
    kl_scale: float = 1.0,
) -> jax.Array:
    """Returns α·kl_scale·τ²·KL(t^τ‖q^τ) - (1-α)·log p_y (ARD, arXiv 1905.09747, eq. 4).

    t^τ is the teacher's view of the clean image at temperature τ. The public code averages over the classes:
    kl_scale = 1/K.
    """
    distilled = kl_scale * softened_divergence(teacher_logits, adversarial_logits, temperature)
    return alpha * distilled + (1 - alpha) * cross_entropy(clean_logits, labels)


def rslad_loss(
    teacher_logits: jax.Array, clean_logits: jax.Array, adversarial_logits: jax.Array, kl_scale: float = 1.0
) -> jax.Array:
    """Returns kl_scale·(5/6·KL(t‖q) + 1/6·KL(t‖p)), t = softmax(teacher_logits) (RSLAD, arXiv 2108.07969).

    The teacher sees clean images; labels are not used.

    Args:
      teacher_logits, clean_logits, adversarial_logits: [N,K].
      kl_scale: 1 sums over the classes. The public code averages over them, 1/10 on CIFAR-10, and multiplies
        by 10 on CIFAR-100: 1/10 reproduces both.
    """
    teacher_logits = lax.stop_gradient(teacher_logits)
    adversarial = kl_divergence(teacher_logits, adversarial_logits)
    return kl_scale * (5 * adversarial + kl_divergence(teacher_logits, clean_logits)) / 6


def akd2_loss(
    teacher_logits: jax.Array,
    natural_logits: jax.Array,
    adversarial_logits: jax.Array,
    labels: jax.Array,
    *,
    robust: float = 0.5,
    natural: float = 0.25,
) -> jax.Array:
    """Returns -(1-a₁-a₂)·log q_y + a₁·KL(t‖q) + a₂·KL(n‖q) (AKD², Chen et al., ICLR 2021).

    Args:
      teacher_logits, natural_logits: of a robust and of a naturally trained teacher, both on the adversarial images.
      robust, natural: a₁ and a₂.
    """
    guided = kl_divergence(lax.stop_gradient(teacher_logits), adversarial_logits)
    return _between_two_teachers(guided, natural_logits, adversarial_logits, labels, robust, natural)


def _between_two_teachers(guided, natural_logits, adversarial_logits, labels, robust, natural) -> jax.Array:
    """Returns -(1-a₁-a₂)·log q_y + a₁·guided + a₂·KL(n‖q), what AKD² and IAD-II have in common."""
    remaining = (1 - robust - natural) * cross_entropy(adversarial_logits, labels)
    natural_term = natural * kl_divergence(lax.stop_gradient(natural_logits), adversarial_logits)
    return remaining + robust * guided + natural_term


def reliability(teacher_logits: jax.Array, labels: jax.Array, beta: float = 0.1) -> jax.Array:
    """Returns w = t_y^β [N]: how far IAD trusts a teacher that gives the adversarial image's label t_y. No gradient."""
    return lax.stop_gradient(jnp.exp(-beta * cross_entropy(teacher_logits, labels)))


def iad_1_loss(
    teacher_logits: jax.Array,
    clean_logits: jax.Array,
    adversarial_logits: jax.Array,
    labels: jax.Array,
    trust: jax.Array,
    *,
    alpha: float = 1.0,
    temperature: float = 1.0,
) -> jax.Array:
    """Returns α·(τ²·KL(t^τ‖q^τ) + (1-w)·KL(p‖q)) - (1-α)·log p_y (IAD-I, arXiv 2106.04928).

    The student's own view of the clean image steps in where the teacher is not to be trusted, and receives gradient.

    Args:
      teacher_logits: of the clean images.
      trust: w [N] or scalar, see `reliability`; 1 leaves ARD. It does not weigh the teacher's term here.
    """
    guided = softened_divergence(teacher_logits, adversarial_logits, temperature)
    introspective = (1 - trust) * kl_divergence(clean_logits, adversarial_logits)
    return alpha * (guided + introspective) + (1 - alpha) * cross_entropy(clean_logits, labels)


def iad_2_loss(
    teacher_logits: jax.Array,
    natural_logits: jax.Array,
    clean_logits: jax.Array,
    adversarial_logits: jax.Array,
    labels: jax.Array,
    trust: jax.Array,
    *,
    robust: float = 0.5,
    natural: float = 0.25,
) -> jax.Array:
    """Returns -(1-a₁-a₂)·log q_y + a₁·(w·KL(t‖q) + (1-w)·KL(p‖q)) + a₂·KL(n‖q) (IAD-II, arXiv 2106.04928).

    Args:
      teacher_logits, natural_logits: of a robust and of a naturally trained teacher, both on the adversarial images.
      clean_logits: of the student, which receives gradient through p.
      trust: w [N] or scalar, see `reliability`; 1 leaves AKD².
      robust, natural: a₁ and a₂.
    """
    guided = trust * kl_divergence(lax.stop_gradient(teacher_logits), adversarial_logits)
    introspective = (1 - trust) * kl_divergence(clean_logits, adversarial_logits)
    return _between_two_teachers(guided + introspective, natural_logits, adversarial_logits, labels, robust, natural)


def mtard_losses(
    teacher_logits: jax.Array, natural_logits: jax.Array, clean_logits: jax.Array, adversarial_logits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns (KL(t‖q), KL(n‖p)), which MTARD weighs against each other (Zhao et al., ECCV 2022).

    Args:
      teacher_logits: of a robust teacher on the adversarial images.
      natural_logits: of a naturally trained teacher on the clean images.
    """
    teacher_logits, natural_logits = lax.stop_gradient((teacher_logits, natural_logits))
    return kl_divergence(teacher_logits, adversarial_logits), kl_divergence(natural_logits, clean_logits)


def balanced_weight(weight: jax.Array, adversarial: jax.Array, natural: jax.Array, rate: jax.Array) -> jax.Array:
    """Returns w - rate·(w - r), r = n/(n + a): MTARD's weight of the natural loss, moved towards its share.

    Args:
      weight: w, scalar in [0, 1]; the adversarial loss has weight 1 - w.
      adversarial, natural: a and n ≥ 0, means of the two losses over their means in the first step.
      rate: 0.025 as published, at the first learning rate.
    """
    total = natural + adversarial
    share = jnp.where(total > 0, natural / jnp.where(total > 0, total, 1.0), 0.5)
    return weight - rate * (weight - share)
