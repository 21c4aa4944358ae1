"""Programs of an evaluation: attacks and measurements in the form that `Runner` runs on every device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnas import attacks


class AttackSettings(NamedTuple):
    """Traced settings of `ascend`, scalars: L∞ radius, step size, steps, MI-FGSM decay, margin or CE loss."""

    epsilon: float
    step_size: float
    steps: int
    momentum: float
    use_margin: bool


def ascend(
    start: str, logits_fn: Callable, images: jax.Array, labels: jax.Array, keys: jax.Array,
    settings: AttackSettings, carry: Any,
) -> attacks.AttackResult:  # fmt: skip
    """Projected gradient ascent from a 'uniform' start or from 'none': all of PGD, CW, MI-FGSM and FGSM in one."""

    def loss(logits, labels):
        margin, entropy = attacks.margin(logits, labels), attacks.cross_entropy(logits, labels)
        return jnp.where(settings.use_margin, margin, entropy)

    return attacks.pgd(
        logits_fn,
        images,
        labels,
        epsilon=settings.epsilon,
        key=keys,
        steps=settings.steps,
        step_size=settings.step_size,
        start=start,
        loss=loss,
        # A decay of 0 leaves the sign of the gradient, hence plain PGD.
        momentum=settings.momentum,
    )
