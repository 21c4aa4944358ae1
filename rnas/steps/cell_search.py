"""The step that searches cells: first the architecture, then the weights, on images of two halves (DSARA and kin)."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import optax

from rnas import objectives
from rnas.objectives.bilevel import unstacked
from rnas.spaces import cell_space
from rnas.steps.augmentation import Augmentation, augment_to_float
from rnas.steps.metrics import TRAIN_METRICS, metric_sums
from rnas.steps.optimizer import Optimizer
from rnas.steps.replicas import PyTree, mean_over_replicas
from rnas.steps.state import State
from rnas.steps.step_keys import Keys, step_keys

VALIDATION_METRICS = ("validation_loss",)
PAIR_METRICS = ("natural_loss", "adversarial_loss", "gamma", "cosine")  # where two objectives are weighed

Loss = Callable[[PyTree, PyTree, Any], tuple[jax.Array, Any]]  # (weights, architecture, batch) -> (mean, aux)


@dataclasses.dataclass(frozen=True, eq=False)
class CellSearchStep:
    """A bilevel search step of DSARA (arXiv 2212.14049, 2405.05502) and of the strategies beside it.

    Adversarial images of both halves are made at the present weights and architecture. The architecture then descends
    the validation losses at weights one step ahead, and the weights descend the training loss, on the same adversarial
    images, at the new architecture. Tutors, where there is a teacher, descend the joint objective alone.

    Attributes:
      supernet: `supernet.apply(variables, images, probabilities, train=…) -> (logits, out)`.
      objective: of the weights, and of the architecture beside the natural loss.
      augmentation: of the images.
      optimizer: of the weights.
      arch_optimizer: of the architecture.
      method: which validation losses there are, and how their gradients become one direction.
      look_ahead: how the validation losses see the weights one step ahead.
      sampling: of tutors.
      curvature, perturbation: of the methods that use them.
      teacher: (variables, images) -> (logits, out), frozen; None where the objective needs none.
      teacher_taps: that tutors are chosen from.
    """

    supernet: nn.Module
    objective: objectives.Objective
    augmentation: Augmentation
    optimizer: Optimizer
    arch_optimizer: Optimizer
    method: objectives.SearchMethod
    look_ahead: objectives.LookAhead
    sampling: objectives.Sampling
    curvature: objectives.Curvature
    perturbation: objectives.ProbabilityPerturbation
    _: dataclasses.KW_ONLY
    teacher: objectives.TeacherApply | None = None
    teacher_taps: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*TRAIN_METRICS, *(PAIR_METRICS if self.method.kind.pair else VALIDATION_METRICS))

    @property
    def natural_objective(self) -> objectives.Objective:
        """The loss on clean images alone."""
        return dataclasses.replace(
            self.objective, adversarial="none", gamma=0.0, kl_weight=0.0, view="clean", clean_pass=False
        )

    def __call__(
        self, state: State, images: jax.Array, labels: jax.Array, teacher_variables: PyTree, root: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """Returns (new state, sums of the metrics over all replicas).

        Args:
          state: before the step.
          images: [2N,H,W,C] uint8 of this replica, of the training half, then of the validation half.
          labels: [2N].
          teacher_variables: of the teacher.
          root: key of the stage.
        """
        half = len(labels) // 2
        # A half's keys do not depend on how many replicas share it.
        keys = step_keys(root, state.step, half)
        validation_keys = step_keys(jax.random.fold_in(root, 1), state.step, half)
        training, validation = adversarial_halves(
            self, state, images, labels, teacher_variables, (keys, validation_keys)
        )
        architecture, arch_opt_state, measured = updated_architecture(self, state, training, validation, keys.tutors)
        sample = perturbed_probabilities(self, state, architecture, training, keys.architecture)

        loss = functools.partial(mean_loss, self, self.objective, state, keys.tutors, probabilities=sample)
        gradients, (terms, stats) = jax.grad(loss, has_aux=True)(state.params, architecture, training)
        gradients = mean_over_replicas(gradients)
        params, opt_state = self.optimizer.update(gradients, state.opt_state, state.params, state.step)
        terms.update(measured, learning_rate=self.optimizer.schedule(state.step))
        new = dataclasses.replace(state,
            step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state, architecture=architecture,
            architecture_opt_state=arch_opt_state,
        )  # fmt: skip
        return new, metric_sums(terms, state.step, (new.params, new.architecture))


# -- images ----------------------------------------------------------------------------------------------


def adversarial_halves(
    search: CellSearchStep,
    state: State,
    images: jax.Array,
    labels: jax.Array,
    teacher_variables: PyTree,
    keys: tuple[Keys, Keys],
) -> list[objectives.Batch]:
    """Returns the training and the validation batch: augmented, with the teacher's outputs and adversarial images."""
    half = len(labels) // 2
    attack_keys, augment_keys = (
        jnp.concatenate([getattr(each, name) for each in keys]) for name in ("attack", "augment")
    )
    images = augment_to_float(search.augmentation, augment_keys, images)
    teacher_outputs = objectives.run_teacher(
        search.teacher, teacher_variables, images, search.objective, search.teacher_taps
    )
    images, labels, attack_keys, teacher_outputs = jax.tree.map(
        lambda leaf: leaf.reshape(2, half, *leaf.shape[1:]), (images, labels, attack_keys, teacher_outputs)
    )
    probabilities = cell_space.probabilities(state.architecture["cells"])
    network = objectives.Network(search.supernet, state.params, state.batch_stats, probabilities)

    def attack(part):
        return objectives.adversarial_images(network, search.objective, *part)[0]

    adversarial = images
    if search.objective.attacks:
        # One program attacks both halves, one after the other: their batch statistics do not mix.
        adversarial = lax.map(attack, (images, labels, attack_keys, teacher_outputs))
    return unstacked(objectives.Batch(images, adversarial, labels, teacher_outputs), 2)


# -- losses ----------------------------------------------------------------------------------------------


def mean_loss(
    search: CellSearchStep,
    objective: objectives.Objective,
    state: State,
    tutor_key: jax.Array,
    params: PyTree,
    architecture: PyTree,
    batch: objectives.Batch,
    *,
    probabilities: PyTree = None,
    regularised: bool = False,
) -> tuple[jax.Array, Any]:
    """Returns (the mean of an objective over a batch, (terms [N], running statistics)) at weights and architecture.

    Args:
      search: the step.
      objective: joint or natural.
      state: before the step, of which step and running statistics are used.
      tutor_key: draws the mixtures of tutors.
      params: weights.
      architecture: logits of the cells and of the tutors.
      batch: of one half.
      probabilities: of the operations; None are the architecture's own.
      regularised: whether AdvRush's regulariser is added.
    """

    def attention_loss(out):
        return objectives.soft_tutor_loss(
            out, search.supernet.taps, batch.teacher_outputs.maps, objective,
            lambda: search.sampling.tutors(tutor_key, architecture["tutors"], state.step),
        )  # fmt: skip

    sample = cell_space.probabilities(architecture["cells"]) if probabilities is None else probabilities
    network = objectives.Network(search.supernet, params, state.batch_stats, sample)
    terms, stats, _ = objectives.joint_terms(network, objective, batch, attention_loss)
    if regularised:
        terms["loss"] = terms["loss"] + curvature_term(search.curvature, network, batch, state.step)
    return jnp.mean(terms["loss"]), (terms, stats)


def curvature_term(
    curvature: objectives.Curvature, network: objectives.Network, batch: objectives.Batch, step: jax.Array
) -> jax.Array:
    """Returns AdvRush's regulariser [N] of the clean images; 0 before its first epoch."""

    def loss(points):
        logits, _, _ = network.forward(points, train=False)
        return objectives.cross_entropy(logits, batch.labels)

    def value():
        return curvature.weight * objectives.input_curvature(loss, batch.images, curvature.distance(step))

    return lax.cond(curvature.is_on(step), value, lambda: jnp.zeros(batch.labels.shape))


def validation_losses(
    search: CellSearchStep, state: State, validation: objectives.Batch, tutor_key: jax.Array
) -> tuple[Loss, PyTree]:
    """Returns a loss and the batches it is taken of, one a validation loss, along the first axis of every leaf.

    The natural loss comes first where a method weighs a pair.
    """
    kind, objective = search.method.kind, search.objective
    own: Loss = functools.partial(mean_loss, search, objective, state, tutor_key, regularised=kind.curvature)
    loss: Loss
    batches: list[Any]
    if not kind.pair:
        loss, batches = own, [validation]
    elif objective.needs_clean or objective.needs_teacher:
        natural = functools.partial(mean_loss, search, search.natural_objective, state, tutor_key)
        loss, batches = either(natural, own), [(0, validation), (1, validation)]
    else:
        # A loss that sees adversarial images alone is the natural one where the attack left them as they are, which
        # spares a second program.
        loss, batches = own, [validation._replace(adversarial=validation.images), validation]

    def mean_and_each(*args):
        mean, (terms, _) = loss(*args)
        return mean, terms["loss"]

    return mean_and_each, jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)


def either(first: Loss, second: Loss) -> Loss:
    """Returns (weights, architecture, (which, batch)) -> the first or the second of two losses on the batch."""

    def loss(params, architecture, case):
        which, batch = case
        return lax.switch(which, [first, second], params, architecture, batch)

    return loss


# -- architecture ----------------------------------------------------------------------------------------


def updated_architecture(
    search: CellSearchStep, state: State, training: objectives.Batch, validation: objectives.Batch, tutor_key: jax.Array
) -> tuple[PyTree, PyTree, dict[str, jax.Array]]:
    """Returns the architecture and its optimiser's state after one update, and the metrics of it."""
    train_loss: Any = functools.partial(mean_loss, search, search.objective, state, tutor_key)
    validation_loss, batches = validation_losses(search, state, validation, tutor_key)
    found = objectives.architecture_gradients(
        lambda *args: train_loss(*args, training),
        validation_loss,
        batches,
        state.params,
        state.architecture,
        search.look_ahead,
        momentum_buffer=search.optimizer.momentum(state.opt_state),
        rate=search.optimizer.schedule(state.step),
        average=mean_over_replicas,
    )
    *others, gradient = found.gradients
    metrics = {"validation_loss": found.aux[-1]}
    if search.method.kind.pair:
        pair = others[0]["cells"], gradient["cells"]
        direction, share = search.method.direction(*pair, state.step)
        gradient = {**gradient, "cells": direction}
        metrics = {
            "natural_loss": found.aux[0], "adversarial_loss": found.aux[1], "gamma": share, "cosine": cosine(*pair),
        }  # fmt: skip
    architecture, opt_state = search.arch_optimizer.update(
        gradient, state.architecture_opt_state, state.architecture, state.step
    )
    return architecture, opt_state, metrics


def cosine(one: PyTree, other: PyTree) -> jax.Array:
    """Cosine of the angle between two pytrees of gradients; 0 where one of them vanishes."""
    lengths = optax.tree.norm(one) * optax.tree.norm(other)
    return jnp.where(lengths > 0, optax.tree.vdot(one, other) / jnp.where(lengths > 0, lengths, 1.0), 0.0)


# -- probabilities that the weights train at -------------------------------------------------------------


def perturbed_probabilities(
    search: CellSearchStep, state: State, architecture: PyTree, training: objectives.Batch, key: jax.Array
) -> PyTree:
    """Returns the architecture's probabilities, perturbed where the method is one of SmoothDARTS.

    Args:
      search: the step.
      state: before the step.
      architecture: after its update.
      training: batch whose loss an adversarial perturbation raises.
      key: the same on all replicas.
    """
    sample = cell_space.probabilities(architecture["cells"])
    kind = search.method.kind.perturbation
    if kind == "uniform":
        return objectives.uniform_perturbation(key, sample, search.perturbation.radius(state.step))
    if kind == "adversarial":

        def loss(sample):
            network = objectives.Network(search.supernet, state.params, state.batch_stats, sample)
            logits, _, _ = network.forward(training.adversarial, train=False)
            return jnp.mean(objectives.cross_entropy(logits, training.labels))

        radius = search.perturbation.radius(state.step)
        return objectives.adversarial_perturbation(loss, key, sample, radius, average=mean_over_replicas)
    return sample
