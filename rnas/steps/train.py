"""The step that trains a fixed network: teacher, student or baseline."""

from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import optax

from rnas import objectives
from rnas.steps.augmentation import Augmentation, augment_to_float
from rnas.steps.cutmix import cutmix
from rnas.steps.optimizer import Optimizer
from rnas.steps.replicas import (
    NO_EXAMPLE,
    TRAIN_METRICS,
    PyTree,
    example_weights,
    mean_over_replicas,
    metric_sums,
    step_keys,
)
from rnas.steps.state import State

_OF_BOXES = 3  # folded into the keys of augmentation, which hold a crop, a mirror and a blank square already


@dataclasses.dataclass(frozen=True)
class DropPathSchedule:
    """Paths that are dropped with a probability that grows linearly, from 0 in the first epoch to `rate`."""

    rate: float
    epochs: int
    steps_per_epoch: int

    def at(self, step: jax.Array) -> jax.Array:
        """Returns the probability at the global `step`."""
        return self.rate * (step // self.steps_per_epoch) / self.epochs


@dataclasses.dataclass(frozen=True)
class WeightPerturbation:
    """Training at weights perturbed against the loss, by `gamma` of their norm, from `first_step` on (AWP)."""

    gamma: float
    first_step: int = 0

    def shift(self, loss: Callable[[PyTree], tuple[jax.Array, Any]], params: PyTree, step: jax.Array) -> PyTree:
        """Returns what is added to the weights: zeros before the first step."""

        def against_the_loss(params):
            gradients, _ = jax.grad(loss, has_aux=True)(params)
            return objectives.weight_perturbation(params, mean_over_replicas(gradients), self.gamma)

        return lax.cond(step >= self.first_step, against_the_loss, optax.tree.zeros_like, params)


@dataclasses.dataclass(frozen=True)
class WeightAverage:
    """A moving average of the weights, average ← d·average + (1 - d)·new, as in arXiv 2302.04638.

    d = min(decay, (1 + t)/(10 + t)) after t steps, so that the first steps are soon forgotten. BatchNorm statistics are
    moving averages already: the averaged weights go with the latest ones.
    """

    decay: float

    def update(self, averaged: PyTree, new: PyTree, step: jax.Array) -> PyTree:
        """Returns the average after the global `step`, whose weights are `new`."""
        decay = jnp.minimum(self.decay, (1 + step) / (10 + step))
        return optax.incremental_update(new, averaged, 1 - decay)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainStep:
    """A step of a fixed network, which minimises the mean of A + kl_weight·KL + gamma·L_attn (eq. 3).

    Where the state has an architecture, the model takes it beside the images; the step leaves it as it is. Where the
    state has an arm, its weights and tutors are taken in place of the objective's and the step's.

    Attributes:
      model: `model.apply(variables, images, train=…) -> (logits, out)`; the model itself averages batch statistics over
        `AXIS`.
      objective: A, attack, and weights of the terms.
      augmentation: of the images.
      optimizer: of the weights.
      teacher: (variables, images) -> (logits, out), frozen; needed if the objective distils.
      natural: the same of a second, naturally trained teacher, with the same variables; some methods need it.
      tutors: which teacher tap each student tap matches; needed if gamma is not 0. `IndexedTutors` for an arm.
      drop_path: of the passes of the loss, for a model that takes `drop_path=(keys [N], rate)`; attacks see all paths.
      perturbation: of the weights at which gradient and running statistics are taken. The attack sees the weights as
        they are.
      average: kept in the state, which must have been created with one.
      cutmix: probability that an image, once it is augmented, is mixed with another one. The method must then take
        mixed labels, and the batch of a replica be even.
      steps_per_epoch: for methods that change from one epoch to another.
      moving: (parameters, architecture) -> which parameters the architecture uses, as `Optimizer.update` takes it;
        needed if it does not use all of them.
      draw: key -> the architecture of this step, the same on all replicas, in place of the state's: a supernet.
      filled: whether batches may be filled up with labels `NO_EXAMPLE`. The model then takes the weights of examples
        in its batch statistics; the loss state of a method must not depend on the batch.
    """

    model: nn.Module
    objective: objectives.Objective
    augmentation: Augmentation
    optimizer: Optimizer
    _: dataclasses.KW_ONLY
    teacher: objectives.TeacherApply | None = None
    natural: objectives.TeacherApply | None = None
    tutors: objectives.FixedTutors | objectives.IndexedTutors | objectives.SampledTutors | None = None
    drop_path: DropPathSchedule | None = None
    perturbation: WeightPerturbation | None = None
    average: WeightAverage | None = None
    cutmix: float = 0.0
    steps_per_epoch: int = 1
    moving: Callable[[Any, Any], Any] | None = None
    draw: Callable[[jax.Array], Any] | None = None
    filled: bool = False

    metrics: ClassVar[tuple[str, ...]] = TRAIN_METRICS

    def __call__(
        self, state: State, images: jax.Array, labels: jax.Array, teacher_variables: PyTree, root: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """Returns (new state, sums of the metrics over all replicas).

        Args:
          images, labels: [N,H,W,C] uint8 and [N], of this replica.
          teacher_variables: of the teachers.
          root: key of the stage.
        """
        model, weights, counted = self.model, jnp.float32(1), jnp.bool_(True)
        if self.filled:
            weights, counted = example_weights(labels), labels != NO_EXAMPLE
            model, labels = model.clone(weights=weights), jnp.where(counted, labels, 0)
        keys = step_keys(root, state.step, len(labels))
        images = augment_to_float(self.augmentation, keys.augment, images)
        if self.cutmix:
            boxes = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys.augment, _OF_BOXES)
            images, labels = cutmix(boxes, images, labels, self.cutmix)
        options = {"drop_path": (keys.drop_path, self.drop_path.at(state.step))} if self.drop_path else {}
        architecture = self.draw(keys.architecture) if self.draw else state.architecture
        objective, tutors, arm = self.objective, self.tutors, state.arm
        taps = tutors.teacher_taps if tutors else ()
        if tutors and arm:
            tutors = dataclasses.replace(tutors, rows=arm.tutors)
        teacher_outputs = objectives.run_teacher(self.teacher, teacher_variables, images, objective, taps)
        adversarial, stats = images, state.batch_stats
        if objective.attacks:
            network = objectives.Network(model, state.params, stats, architecture)
            adversarial, stats = objectives.adversarial_images(
                network, objective, images, labels, keys.attack, teacher_outputs
            )
        teacher_outputs = objectives.run_teachers_on_adversarial(
            teacher_outputs, self.teacher, self.natural, teacher_variables, images, adversarial, objective
        )
        batch = objectives.Batch(images, adversarial, labels, teacher_outputs)
        rate = self.optimizer.schedule(state.step)
        progress = objectives.TrainProgress(state.step // self.steps_per_epoch, rate / self.optimizer.schedule(0))

        def loss(params):
            terms, new_stats, loss_state = objectives.joint_terms(
                objectives.Network(model, params, stats, architecture), objective, batch,
                lambda out: tutors.loss(out, teacher_outputs.maps, keys.tutors, objective), arm=arm,
                progress=progress, loss_state=state.loss_state, average=mean_over_replicas, **options,
            )  # fmt: skip
            return jnp.mean(weights * terms["loss"]), (terms, new_stats, loss_state)

        params, shift = state.params, None
        if self.perturbation:
            shift = self.perturbation.shift(loss, params, state.step)
            params = optax.tree.add(params, shift)
        gradients, (terms, stats, loss_state) = jax.grad(loss, has_aux=True)(params)
        gradients = mean_over_replicas(gradients)
        # The optimiser steps from where the gradient was taken, its decay of the weights included.
        mask = self.moving and self.moving(params, architecture)
        params, opt_state = self.optimizer.update(gradients, state.opt_state, params, state.step, mask)
        if self.perturbation:
            params = optax.tree.sub(params, shift)
        terms["learning_rate"] = rate
        # Synchronised BatchNorm already leaves equal statistics everywhere.
        new = dataclasses.replace(
            state, step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state, loss_state=loss_state
        )
        if self.average:
            new = dataclasses.replace(new, averaged=self.average.update(state.averaged, new.params, state.step))
        return new, metric_sums(terms, state.step, new.params, counted)
