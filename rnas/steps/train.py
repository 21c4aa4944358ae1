"""The step that trains a fixed network: teacher, student or baseline."""

from collections.abc import Callable
import dataclasses
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import optax

from rnas.objectives import (
    FixedTutors,
    Objective,
    SampledTutors,
    TeacherApply,
    TrainProgress,
    adversarial_images,
    joint_terms_and_state,
    run_teacher,
    run_teachers_on_adversarial,
    weight_perturbation,
)
from rnas.steps.augmentation import Augmentation, augment_to_float
from rnas.steps.keys import step_keys
from rnas.steps.metrics import metric_sums
from rnas.steps.optimizer import Optimizer
from rnas.steps.replicas import mean_over_replicas
from rnas.steps.state import State, Step


@dataclasses.dataclass(frozen=True)
class DropPathSchedule:
    """Paths that are dropped with a probability that grows linearly, from 0 in the first epoch to `rate`."""

    rate: float
    epochs: int
    steps_per_epoch: int

    def at(self, step: jax.Array) -> jax.Array:
        return self.rate * (step // self.steps_per_epoch) / self.epochs


@dataclasses.dataclass(frozen=True)
class WeightPerturbation:
    """Training at weights perturbed against the loss, by `gamma` of their norm, from `first_step` on (AWP)."""

    gamma: float
    first_step: int = 0


@dataclasses.dataclass(frozen=True)
class WeightAverage:
    """A moving average of the weights, average ← d·average + (1 - d)·new, as in arXiv 2302.04638.

    d = min(decay, (1 + t)/(10 + t)) after t steps, so that the first steps are soon forgotten. BatchNorm statistics are
    moving averages already: the averaged weights go with the latest ones.
    """

    decay: float

    def update(self, averaged, new, step: jax.Array):
        decay = jnp.minimum(self.decay, (1 + step) / (10 + step))
        return optax.incremental_update(new, averaged, 1 - decay)


def make_train_step(
    model: nn.Module,
    objective: Objective,
    augmentation: Augmentation,
    optimizer: Optimizer,
    *,
    teacher: TeacherApply | None = None,
    natural: TeacherApply | None = None,
    tutors: FixedTutors | SampledTutors | None = None,
    drop_path: DropPathSchedule | None = None,
    perturbation: WeightPerturbation | None = None,
    average: WeightAverage | None = None,
    steps_per_epoch: int = 1,
    moving: Callable[[Any, Any], Any] | None = None,
    draw: Callable[[jax.Array], Any] | None = None,
) -> Step:
    """Builds the step of a fixed network, minimising the mean of A + kl_weight·KL + gamma·L_attn (eq. 3).

    Where the state has an architecture, the model is told it beside the images; the step leaves it as it is.

    Args:
      model: `model.apply(variables, images, train=…) -> (logits, out)`; batch statistics must be averaged over
        `AXIS` by the model itself.
      teacher: (variables, images) -> (logits, out), frozen; needed if the objective distils.
      natural: the same of a second, naturally trained teacher, out of the same variables; needed by some methods.
      tutors: which teacher tap each student tap matches; needed if gamma is not 0.
      drop_path: of the passes of the loss, for a model that takes `drop_path=(keys [N], rate)`; attacks see all paths.
      perturbation: of the weights at which gradient and running statistics are taken. The attack sees the weights as
        they are.
      average: kept in the state, which must have been created with one.
      steps_per_epoch: for methods that change from one epoch to another.
      moving: (parameters, architecture) -> which parameters the architecture uses, as `Optimizer.update` takes it;
        needed if it does not use all of them.
      draw: key -> the architecture of this step, the same on all replicas, in place of the state's: a supernet.
    """

    def train_step(state: State, images, labels, teacher_variables, root):
        keys = step_keys(root, state.step, len(labels))
        images = augment_to_float(augmentation, keys.augment, images)
        options = {"drop_path": (keys.drop_path, drop_path.at(state.step))} if drop_path else {}
        architecture = draw(keys.architecture) if draw else state.architecture
        taps = tutors.teacher_taps if tutors else ()
        teacher_outputs = run_teacher(teacher, teacher_variables, images, objective, taps)
        adversarial, stats = images, state.batch_stats
        if objective.attacks:
            adversarial, stats = adversarial_images(
                model, objective, state.params, stats, images, labels, keys.attack, architecture, teacher_outputs
            )

        teacher_outputs = run_teachers_on_adversarial(
            teacher_outputs, teacher, natural, teacher_variables, images, adversarial, objective
        )
        rate = optimizer.schedule(state.step)
        progress = TrainProgress(state.step // steps_per_epoch, rate / optimizer.schedule(0))

        def loss(params):
            terms, new_stats, loss_state = joint_terms_and_state(
                model, objective, params, stats, images, adversarial, labels, architecture, teacher_outputs,
                lambda out: tutors.loss(out, teacher_outputs.maps, keys.tutors, objective),
                progress=progress, loss_state=state.loss_state, average=mean_over_replicas, **options,
            )  # fmt: skip
            return jnp.mean(terms["loss"]), (terms, new_stats, loss_state)

        def perturbed(params):
            gradients, _ = jax.grad(loss, has_aux=True)(params)
            return weight_perturbation(params, mean_over_replicas(gradients), perturbation.gamma)

        params, shift = state.params, None
        if perturbation:
            shift = lax.cond(state.step >= perturbation.first_step, perturbed, optax.tree.zeros_like, params)
            params = optax.tree.add(params, shift)
        gradients, (terms, stats, loss_state) = jax.grad(loss, has_aux=True)(params)
        gradients = mean_over_replicas(gradients)
        # The optimiser steps from where the gradient was taken, its decay of the weights included.
        mask = moving and moving(params, architecture)
        params, opt_state = optimizer.update(gradients, state.opt_state, params, state.step, mask)
        if perturbation:
            params = optax.tree.sub(params, shift)
        terms["learning_rate"] = rate
        # Synchronised BatchNorm already leaves equal statistics everywhere.
        new = state.replace(
            step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state, loss_state=loss_state
        )
        if average:
            new = new.replace(averaged=average.update(state.averaged, new.params, state.step))
        return new, metric_sums(terms, state.step, new.params)

    return train_step
