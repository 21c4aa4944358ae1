"""The step that trains a fixed network: teacher, student or twin."""

from collections.abc import Callable
import dataclasses
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from rnas.training.joint import (
    FixedTutors,
    Objective,
    SampledTutors,
    TeacherApply,
    adversarial_images,
    joint_terms,
    teacher_signals,
)
from rnas.training.optimizers import Optimizer
from rnas.training.state import State
from rnas.training.steps.parts import AXIS, Augmentation, Step, augmented, reduced, step_keys

TRAIN_METRICS = (
    "loss", "classification", "kl", "attention", "accuracy", "adversarial_accuracy", "learning_rate",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DropPath:
    """Paths that are dropped with a probability that grows linearly, from 0 in the first epoch to `rate`."""

    rate: float
    epochs: int
    steps_per_epoch: int

    def at(self, step: jax.Array) -> jax.Array:
        return self.rate * (step // self.steps_per_epoch) / self.epochs


def make_train_step(
    model: nn.Module,
    objective: Objective,
    augmentation: Augmentation,
    optimizer: Optimizer,
    *,
    teacher: TeacherApply | None = None,
    tutors: FixedTutors | SampledTutors | None = None,
    drop_path: DropPath | None = None,
    moving: Callable[[Any, Any], Any] | None = None,
    draw: Callable[[jax.Array], Any] | None = None,
) -> Step:
    """Builds the step of a fixed network, minimising the mean of A + kl_weight·KL + gamma·L_attn (eq. 3).

    Where the state has an architecture, the model is told it beside the images; the step leaves it as it is.

    Args:
      model: `model.apply(variables, images, train=…) -> (logits, out)`; batch statistics must be averaged over
        `AXIS` by the model itself.
      teacher: (variables, images) -> (logits, out), frozen; needed if the objective distils.
      tutors: which teacher tap each student tap matches; needed if gamma is not 0.
      drop_path: of the passes of the loss, for a model that takes `drop_path=(keys [N], rate)`; attacks see all paths.
      moving: (parameters, architecture) -> which parameters the architecture uses, as `Optimizer.update` takes it;
        needed if it does not use all of them.
      draw: key -> the architecture of this step, the same on all replicas, in place of the state's: a supernet.
    """

    def train_step(state: State, images, labels, teacher_variables, root):
        keys = step_keys(root, state.step, len(labels))
        images = augmented(augmentation, keys.augment, images)
        options = {"drop_path": (keys.drop_path, drop_path.at(state.step))} if drop_path else {}
        architecture = draw(keys.architecture) if draw else state.architecture
        taps = tutors.teacher_taps if tutors else ()
        signals = teacher_signals(teacher, teacher_variables, images, objective, taps)
        attacked, stats = images, state.batch_stats
        if objective.attacks:
            attacked, stats = adversarial_images(
                model, objective, state.params, stats, images, labels, keys.attack, architecture, signals
            )

        def loss(params):
            terms, new_stats = joint_terms(
                model, objective, params, stats, images, attacked, labels, architecture, signals,
                lambda out: tutors.loss(out, signals.maps, keys.tutors, objective), **options,
            )  # fmt: skip
            return jnp.mean(terms["loss"]), (terms, new_stats)

        gradients, (terms, stats) = jax.grad(loss, has_aux=True)(state.params)
        gradients = lax.pmean(gradients, AXIS)
        mask = moving and moving(state.params, architecture)
        params, opt_state = optimizer.update(gradients, state.opt_state, state.params, state.step, mask)
        terms["learning_rate"] = optimizer.schedule(state.step)
        # Synchronised BatchNorm already leaves equal statistics everywhere.
        new = state.replace(step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state)
        return new, reduced(terms, state.step, new.params)

    return train_step
