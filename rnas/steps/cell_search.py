"""The step that searches cells: first the architecture, then the weights, on images of two halves (DSARA and kin)."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import optax

from rnas import objectives
from rnas.objectives import (
    Curvature,
    LookAhead,
    Objective,
    ProbabilityPerturbation,
    Sampling,
    SearchMethod,
    TeacherApply,
    TeacherOutputs,
    adversarial_images,
    architecture_gradients,
    forward,
    joint_terms,
    run_teacher,
)
from rnas.objectives.bilevel import unstacked
from rnas.spaces import cell_space
from rnas.steps.augmentation import Augmentation, augment_to_float
from rnas.steps.keys import step_keys
from rnas.steps.metrics import TRAIN_METRICS, metric_sums
from rnas.steps.optimizer import Optimizer
from rnas.steps.replicas import mean_over_replicas
from rnas.steps.state import State, Step

OWN_METRICS = ("validation_loss",)
PAIR_METRICS = ("natural_loss", "adversarial_loss", "gamma", "cosine")  # where two objectives are weighed


class Batch(NamedTuple):
    """Images of one half [N,H,W,C] float32, the same adversarial, labels [N], and what the teacher says of the images."""

    images: jax.Array
    adversarial: jax.Array
    labels: jax.Array
    teacher_outputs: TeacherOutputs


def make_cell_search_step(
    supernet: nn.Module,
    objective: Objective,
    augmentation: Augmentation,
    optimizer: Optimizer,
    arch_optimizer: Optimizer,
    method: SearchMethod,
    look_ahead: LookAhead,
    sampling: Sampling,
    curvature: Curvature,
    perturbation: ProbabilityPerturbation,
    *,
    teacher: TeacherApply | None,
    teacher_taps: tuple[str, ...],
) -> tuple[Step, tuple[str, ...]]:
    """Builds the bilevel search step of DSARA (arXiv 2212.14049, 2405.05502) and of the strategies beside it.

    Both halves are adversarial at the present weights and architecture. The architecture then descends the validation
    losses at weights one step ahead, and the weights descend the training loss, on the same adversarial images, at the
    new architecture. Tutors, where there is a teacher, descend the joint objective alone.

    Args:
      supernet: `supernet.apply(variables, images, probabilities, train=…) -> (logits, out)`.
      objective: of the weights, and of the architecture beside the natural loss.
      method: which validation losses there are, and how their gradients become one direction.
      look_ahead: how the validation losses see the weights one step ahead.
      sampling: of tutors.
      curvature, perturbation: of the methods that use them.

    Returns:
      (step, names of its metrics). A step takes twice a batch per replica: images of the training half, then of the
      validation half.
    """
    kind = method.kind
    natural = dataclasses.replace(
        objective, adversarial="none", gamma=0.0, kl_weight=0.0, view="clean", clean_pass=False
    )

    def search_step(state: State, images, labels, teacher_variables, root):
        half = len(labels) // 2
        # A half's keys do not depend on how many replicas share it.
        training_keys = step_keys(root, state.step, half)
        validation_keys = step_keys(jax.random.fold_in(root, 1), state.step, half)
        attack_keys, augment_keys = (
            jnp.concatenate([getattr(keys, name) for keys in (training_keys, validation_keys)])
            for name in ("attack", "augment")
        )
        images = augment_to_float(augmentation, augment_keys, images)
        teacher_outputs = run_teacher(teacher, teacher_variables, images, objective, teacher_taps)
        images, labels, attack_keys, teacher_outputs = jax.tree.map(
            lambda leaf: leaf.reshape(2, half, *leaf.shape[1:]), (images, labels, attack_keys, teacher_outputs)
        )
        probabilities = cell_space.probabilities(state.architecture["cells"])
        adversarial = images
        if objective.attacks:
            # One program attacks both halves, one after the other: their batch statistics do not mix.
            adversarial = lax.map(
                lambda part: adversarial_images(
                    supernet, objective, state.params, state.batch_stats, *part[:3], probabilities, part[3]
                )[0],
                (images, labels, attack_keys, teacher_outputs),
            )
        training, validation = unstacked(Batch(images, adversarial, labels, teacher_outputs), 2)

        def loss_of(objective: Objective, probabilities=None, regularised=False):
            """(weights, architecture, batch) → mean loss; `probabilities` None are the architecture's own."""

            def loss(params, architecture, batch: Batch):
                def compare(out):
                    maps = objectives.attention_maps(out, supernet.taps, objective.size, objective.normalise)
                    weights = sampling.tutors(training_keys.tutors, architecture["tutors"], state.step)
                    distances = objectives.attention_distances(maps, batch.teacher_outputs.maps)
                    return objectives.cross_layer_loss(distances, weights, objective.reduction)

                sample = cell_space.probabilities(architecture["cells"]) if probabilities is None else probabilities
                terms, stats = joint_terms(
                    supernet, objective, params, state.batch_stats, batch.images, batch.adversarial, batch.labels, sample,
                    batch.teacher_outputs, compare,
                )  # fmt: skip
                if regularised:
                    terms["loss"] = terms["loss"] + regulariser(params, sample, batch)
                return jnp.mean(terms["loss"]), (terms, stats)

            return loss

        def regulariser(params, sample, batch):
            def cross_entropy(points):
                logits, _, _ = forward(supernet, params, state.batch_stats, points, sample, train=False)
                return objectives.cross_entropy(logits, batch.labels)

            def value():
                distance = curvature.distance(state.step)
                return curvature.weight * objectives.input_curvature(cross_entropy, batch.images, distance)

            return lax.cond(curvature.is_on(state.step), value, lambda: jnp.zeros(batch.labels.shape))

        train_loss, own = loss_of(objective), loss_of(objective, regularised=kind.curvature)
        # Of a pair, a stack of two batches: a loss that sees adversarial images alone is the natural one where the attack
        # left them as they are, which spares a second program.
        if not kind.pair:
            validation_loss, batches = own, [validation]
        elif objective.needs_clean or objective.needs_teacher:
            validation_loss, batches = either(loss_of(natural), own), [(0, validation), (1, validation)]
        else:
            validation_loss, batches = own, [validation._replace(adversarial=validation.images), validation]

        def validation_mean(*args):
            mean, (terms, _) = validation_loss(*args)
            return mean, terms["loss"]

        found = architecture_gradients(
            lambda *args: train_loss(*args, training),
            validation_mean,
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches),
            state.params,
            state.architecture,
            look_ahead,
            momentum_buffer=optimizer.momentum(state.opt_state),
            rate=optimizer.schedule(state.step),
            average=mean_over_replicas,
        )
        *others, gradient = found.gradients
        measured = {"validation_loss": found.aux[-1]}
        if kind.pair:
            pair = others[0]["cells"], gradient["cells"]
            direction, share = method.direction(*pair, state.step)
            gradient = {**gradient, "cells": direction}
            measured = {
                "natural_loss": found.aux[0], "adversarial_loss": found.aux[1],
                "gamma": share, "cosine": cosine(*pair),
            }  # fmt: skip
        architecture, architecture_opt_state = arch_optimizer.update(
            gradient, state.architecture_opt_state, state.architecture, state.step
        )

        sample = cell_space.probabilities(architecture["cells"])
        if kind.perturbation == "uniform":
            sample = objectives.uniform_perturbation(
                training_keys.architecture, sample, perturbation.radius(state.step)
            )
        elif kind.perturbation == "adversarial":

            def training_loss(sample):
                logits, _, _ = forward(
                    supernet, state.params, state.batch_stats, training.adversarial, sample, train=False
                )
                return jnp.mean(objectives.cross_entropy(logits, training.labels))

            sample = objectives.adversarial_perturbation(
                training_loss, training_keys.architecture, sample, perturbation.radius(state.step),
                average=mean_over_replicas,
            )  # fmt: skip

        loss = loss_of(objective, sample)
        gradients, (terms, stats) = jax.grad(loss, has_aux=True)(state.params, architecture, training)
        params, opt_state = optimizer.update(mean_over_replicas(gradients), state.opt_state, state.params, state.step)
        terms.update(measured, learning_rate=optimizer.schedule(state.step))
        new = state.replace(
            step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state, architecture=architecture,
            architecture_opt_state=architecture_opt_state,
        )  # fmt: skip
        return new, metric_sums(terms, state.step, (new.params, new.architecture))

    return search_step, (*TRAIN_METRICS, *(PAIR_METRICS if kind.pair else OWN_METRICS))


def either(first, second):
    """Returns (…, (which, batch)) → what the first or the second of two losses says of the batch."""

    def loss(params, architecture, case):
        which, batch = case
        return lax.switch(which, [first, second], params, architecture, batch)

    return loss


def cosine(one, other) -> jax.Array:
    """Cosine of the angle between two pytrees of gradients; 0 where one of them vanishes."""
    lengths = optax.tree.norm(one) * optax.tree.norm(other)
    return jnp.where(lengths > 0, optax.tree.vdot(one, other) / jnp.where(lengths > 0, lengths, 1.0), 0.0)
