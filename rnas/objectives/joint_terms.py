"""The terms of the joint objective per example, and the passes of the network they need.

BatchNorm running statistics move only in these passes, in the order clean, adversarial, and never during an attack
unless `attack_bn` is 'train'.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnas.attacks.logits import predictions
from rnas.attacks.losses import cross_entropy
from rnas.objectives.divergences import kl_divergence
from rnas.objectives.joint_objective import ArmTerms, Objective
from rnas.objectives.methods import Logits, TrainProgress
from rnas.objectives.mixed_labels import Labels, over_labels
from rnas.objectives.network import Network
from rnas.objectives.teacher_outputs import TeacherOutputs

PyTree = Any
START = TrainProgress()


class Batch(NamedTuple):
    """What an objective is taken of."""

    images: jax.Array  # [N,H,W,C] float32 in [0, 1]
    adversarial: jax.Array  # the same under attack; the images themselves where nothing attacks
    labels: Labels  # [N], of mixed images two each
    teacher_outputs: TeacherOutputs  # on the images


def joint_terms(
    network: Network,
    objective: Objective,
    batch: Batch,
    attention_loss: Callable[[Mapping[str, jax.Array]], jax.Array],
    *,
    arm: ArmTerms | None = None,
    progress: TrainProgress = START,
    loss_state: PyTree = None,
    average: Callable[[PyTree], PyTree] = lambda means: means,
    **options,
) -> tuple[dict[str, jax.Array], PyTree, PyTree]:
    """Takes the terms of the objective, per example, by one pass of the network or two.

    Args:
      attention_loss: taps `out` of the network -> cross-layer loss [N] against the teacher's maps.
      arm: weights of the distilling terms in place of the objective's.
      progress: of training.
      loss_state: of the method, after the step before.
      average: scalars of this replica -> their means over all replicas, for the loss state.
      **options: passed on to the model.

    Returns:
      ({term: [N]}, running statistics, loss state). The terms: 'loss', of which 'classification', 'kl' and 'attention'
      are parts, 'accuracy' (on clean images, 0 where the network does not see them) and 'adversarial_accuracy'. Of a
      mixed image the share of its label that was predicted counts as right.
    """
    labels, teacher_outputs = batch.labels, batch.teacher_outputs
    zeros = jnp.zeros(len(batch.images), jnp.float32)
    terms: dict[str, Any] = {"kl": zeros, "attention": zeros, "accuracy": zeros, "adversarial_accuracy": zeros}
    views, auxiliary = [], zeros
    clean_logits = adversarial_logits = None

    def correct(logits):
        predicted = predictions(logits)
        return over_labels(lambda labels: (predicted == labels).astype(jnp.float32), labels)

    if objective.needs_clean:
        update = objective.bn_update != "adversarial" or not objective.attacks
        clean_logits, out, stats = network.forward(batch.images, train=True, update=update, **options)
        network = dataclasses.replace(network, batch_stats=stats)
        terms["accuracy"] = correct(clean_logits)
        if objective.auxiliary:
            auxiliary = over_labels(functools.partial(cross_entropy, out["auxiliary"]), labels)
        if objective.view != "adversarial":
            views.append(out)
    if objective.attacks:
        update = objective.bn_update != "clean" or not objective.needs_clean
        adversarial_logits, out, stats = network.forward(batch.adversarial, train=True, update=update, **options)
        network = dataclasses.replace(network, batch_stats=stats)
        terms["adversarial_accuracy"] = correct(adversarial_logits)
        if objective.view != "clean":
            views.append(out)

    teachers = (teacher_outputs.teacher_adversarial, teacher_outputs.natural, teacher_outputs.natural_adversarial)
    logits = Logits(clean_logits, adversarial_logits, teacher_outputs.logits, *teachers)
    loss_state = objective.adversarial.update_loss_state(loss_state, logits, progress, average)
    terms["classification"] = over_labels(
        lambda labels: objective.adversarial.loss(logits, labels, progress, loss_state), labels
    )
    if objective.kl_weight:
        terms["kl"] = kl_divergence(teacher_outputs.logits, clean_logits)
    if objective.gamma:
        terms["attention"] = sum(attention_loss(out) for out in views) / len(views)
    weights = arm or objective
    terms["loss"] = terms["classification"] + weights.kl_weight * terms["kl"] + weights.gamma * terms["attention"]
    terms["loss"] += objective.auxiliary * auxiliary
    return terms, network.batch_stats, loss_state
