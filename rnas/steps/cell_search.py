"""The step that searches cells: first the architecture, then the weights, on images of two halves (DSARA and kin)."""

import dataclasses
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import optax

from rnas import objectives
from rnas.objectives.bilevel import Loss, unstacked
from rnas.spaces import cell_space
from rnas.steps.augmentation import augment_to_float
from rnas.steps.replicas import TRAIN_METRICS, Keys, PyTree, mean_over_replicas, metric_sums, step_keys
from rnas.steps.search import SearchStep
from rnas.steps.state import State

PAIR_METRICS = ("natural_loss", "adversarial_loss", "gamma", "cosine")  # where two objectives are weighed


@dataclasses.dataclass(frozen=True, eq=False)
class CellSearchStep(SearchStep):
    """A bilevel search step of DSARA (arXiv 2212.14049, 2405.05502) and of the strategies beside it.

    Adversarial images of both halves are made at the present weights and architecture. The architecture then descends
    the validation losses at weights one step ahead, and the weights descend the training loss, on the same adversarial
    images, at the new architecture. Tutors, where there is a teacher, descend the joint objective alone.

    Attributes:
      method: which validation losses there are, and how their gradients become one direction.
      look_ahead: how the validation losses see the weights one step ahead.
      curvature, perturbation: of the methods that use them.
    """

    method: objectives.SearchMethod
    look_ahead: objectives.LookAhead
    curvature: objectives.Curvature
    perturbation: objectives.ProbabilityPerturbation

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*TRAIN_METRICS, *(PAIR_METRICS if self.method.kind.pair else ("validation_loss",)))

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
          images, labels: [2N,H,W,C] uint8 and [2N] of this replica, of the training half, then of the validation half.
          teacher_variables: of the teacher.
          root: key of the stage.
        """
        half = len(labels) // 2
        # A half's keys do not depend on how many replicas share it.
        keys = step_keys(root, state.step, half)
        validation_keys = step_keys(jax.random.fold_in(root, 1), state.step, half)
        training, validation = self.adversarial_halves(
            state, images, labels, teacher_variables, (keys, validation_keys)
        )
        loss = functools.partial(self.loss, state, keys.tutors)
        architecture, arch_opt_state, measured = self.updated_architecture(state, training, validation, loss)
        sample = self.perturbed_probabilities(state, architecture, training, keys.architecture)

        train_loss = functools.partial(loss, self.objective, probabilities=sample)
        gradients, (terms, stats) = jax.grad(train_loss, has_aux=True)(state.params, architecture, training)
        gradients = mean_over_replicas(gradients)
        params, opt_state = self.optimizer.update(gradients, state.opt_state, state.params, state.step)
        terms.update(measured, learning_rate=self.optimizer.schedule(state.step))
        new = dataclasses.replace(state,
            step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state, architecture=architecture,
            architecture_opt_state=arch_opt_state,
        )  # fmt: skip
        return new, metric_sums(terms, state.step, (new.params, new.architecture))

    def adversarial_halves(
        self, state: State, images: jax.Array, labels: jax.Array, teacher_variables: PyTree, keys: tuple[Keys, Keys]
    ) -> list[objectives.Batch]:
        """Returns the training and the validation batch: augmented, with teacher's outputs and adversarial images."""
        attack_keys, augment_keys = (
            jnp.concatenate([getattr(each, name) for each in keys]) for name in ("attack", "augment")
        )
        images = augment_to_float(self.augmentation, augment_keys, images)
        teacher_outputs = self.teacher_outputs(teacher_variables, images)
        images, labels, attack_keys, teacher_outputs = jax.tree.map(
            lambda leaf: leaf.reshape(2, len(labels) // 2, *leaf.shape[1:]),
            (images, labels, attack_keys, teacher_outputs),
        )
        probabilities = cell_space.probabilities(state.architecture["cells"])
        network = objectives.Network(self.supernet, state.params, state.batch_stats, probabilities)

        def attack(part):
            return objectives.adversarial_images(network, self.objective, *part)[0]

        adversarial = images
        if self.objective.attacks:
            # One program attacks both halves, one after the other: their batch statistics do not mix.
            adversarial = lax.map(attack, (images, labels, attack_keys, teacher_outputs))
        return unstacked(objectives.Batch(images, adversarial, labels, teacher_outputs), 2)

    # -- losses -------------------------------------------------------------------------------------------

    def loss(
        self,
        state: State,
        tutor_key: jax.Array,
        objective: objectives.Objective,
        params: PyTree,
        architecture: PyTree,
        batch: objectives.Batch,
        *,
        probabilities: PyTree = None,
        regularised: bool = False,
    ) -> tuple[jax.Array, Any]:
        """Returns (the mean of an objective over a batch, (terms [N], running statistics)) at weights and architecture.

        Args:
          state: before the step, of which step and running statistics are used.
          tutor_key: draws the mixtures of tutors.
          objective: joint or natural.
          params, architecture: weights; logits of the cells and of the tutors.
          batch: of one half.
          probabilities: of the operations; None are the architecture's own.
          regularised: whether AdvRush's regulariser is added.
        """
        sample = cell_space.probabilities(architecture["cells"]) if probabilities is None else probabilities
        network = objectives.Network(self.supernet, params, state.batch_stats, sample)
        terms, stats = self.joint_terms(network, objective, batch, architecture, tutor_key, state.step)
        if regularised:
            terms["loss"] = terms["loss"] + self.curvature_term(network, batch, state.step)
        return jnp.mean(terms["loss"]), (terms, stats)

    def curvature_term(self, network: objectives.Network, batch: objectives.Batch, step: jax.Array) -> jax.Array:
        """Returns AdvRush's regulariser [N] of the clean images; 0 before its first epoch."""
        curvature = self.curvature

        def loss(points):
            logits, _, _ = network.forward(points, train=False)
            return objectives.cross_entropy(logits, batch.labels)

        def value():
            return curvature.factor * objectives.input_curvature(loss, batch.images, curvature.distance(step))

        return lax.cond(curvature.is_on(step), value, lambda: jnp.zeros(batch.labels.shape))

    def validation_losses(self, validation: objectives.Batch, loss: Loss) -> tuple[Loss, PyTree]:
        """Returns a loss and the batches it is taken of, one a validation loss, along the first axis of every leaf.

        The natural loss comes first where a method weighs a pair.
        """
        kind, objective = self.method.kind, self.objective
        own: Loss = functools.partial(loss, objective, regularised=bool(kind.curvature))
        chosen, batches = own, [validation]
        if kind.pair and (objective.needs_clean or objective.needs_teacher):
            losses: list[Loss] = [functools.partial(loss, self.natural_objective), own]

            def chosen(params, architecture, case):
                return lax.switch(case[0], losses, params, architecture, case[1])

            batches = [(0, validation), (1, validation)]
        elif kind.pair:
            # A loss that sees adversarial images alone is the natural one where the attack left them as they are,
            # which spares a second program.
            batches = [validation._replace(adversarial=validation.images), validation]

        def mean_and_each(*args):
            mean, (terms, _) = chosen(*args)
            return mean, terms["loss"]

        return mean_and_each, jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)

    # -- architecture -------------------------------------------------------------------------------------

    def updated_architecture(
        self, state: State, training: objectives.Batch, validation: objectives.Batch, loss: Loss
    ) -> tuple[PyTree, PyTree, dict[str, jax.Array]]:
        """Returns the architecture and its optimiser's state after one update, and the metrics of it."""
        validation_loss, batches = self.validation_losses(validation, loss)
        found = objectives.architecture_gradients(
            lambda *args: loss(self.objective, *args, training), validation_loss, batches, state.params,
            state.architecture, self.look_ahead, momentum_buffer=self.optimizer.momentum(state.opt_state),
            rate=self.optimizer.schedule(state.step), average=mean_over_replicas,
        )  # fmt: skip
        *others, gradient = found.gradients
        metrics = {"validation_loss": found.aux[-1]}
        if self.method.kind.pair:
            pair = others[0]["cells"], gradient["cells"]
            direction, share = self.method.direction(*pair, state.step)
            gradient = {**gradient, "cells": direction}
            metrics = dict(zip(PAIR_METRICS, (found.aux[0], found.aux[1], share, cosine(*pair)), strict=True))
        architecture, opt_state = self.arch_optimizer.update(
            gradient, state.architecture_opt_state, state.architecture, state.step
        )
        return architecture, opt_state, metrics

    def perturbed_probabilities(
        self, state: State, architecture: PyTree, training: objectives.Batch, key: jax.Array
    ) -> PyTree:
        """Returns the architecture's probabilities, perturbed where the method is one of SmoothDARTS.

        An adversarial perturbation raises the loss of `training`; `key` is the same on all replicas.
        """
        sample = cell_space.probabilities(architecture["cells"])
        kind = self.method.kind.perturbation
        if not kind:
            return sample
        radius = self.perturbation.radius(state.step)
        if kind == "uniform":
            return objectives.uniform_perturbation(key, sample, radius)

        def loss(sample):
            network = objectives.Network(self.supernet, state.params, state.batch_stats, sample)
            logits, _, _ = network.forward(training.adversarial, train=False)
            return jnp.mean(objectives.cross_entropy(logits, training.labels))

        return objectives.adversarial_perturbation(loss, key, sample, radius, average=mean_over_replicas)


def cosine(one: PyTree, other: PyTree) -> jax.Array:
    """Cosine of the angle between two pytrees of gradients; 0 where one of them vanishes."""
    lengths = optax.tree.norm(one) * optax.tree.norm(other)
    return jnp.where(lengths > 0, optax.tree.vdot(one, other) / jnp.where(lengths > 0, lengths, 1.0), 0.0)
