"""The terms of the joint objective per example, and the passes of the network they need.

BatchNorm running statistics move only in these passes, in the order clean, adversarial, and never during an attack
unless `attack_bn` is 'train'.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from rnas.objectives.distillation import kl_divergence
from rnas.objectives.forward_pass import forward
from rnas.objectives.joint_objective import Objective
from rnas.objectives.methods import Logits, TrainProgress
from rnas.objectives.robust_losses import cross_entropy

PyTree = Any
START = TrainProgress()


def joint_terms(*args, **options):
    """`joint_terms_and_state` of a method without loss_state, without the loss_state."""
    terms, stats, _ = joint_terms_and_state(*args, **options)
    return terms, stats


def joint_terms_and_state(
    model, objective: Objective, params, batch_stats, images, adversarial, labels, sample, teacher_outputs, compare, *,
    progress: TrainProgress = START, loss_state: PyTree = None, average: Callable = lambda means: means, **options,
):  # fmt: skip
    """The terms of the objective, per example, and the passes they need.

    Args:
      compare: student taps `out` → cross-layer loss [N] against the teacher's maps.
      progress: where training stands.
      loss_state: of the method, from the step before.
      average: scalars of this replica → their means over all replicas, for the loss_state.
      **options: passed on to the model.

    Returns:
      ({term: [N]}, running statistics, loss_state); 'classification', 'kl' and 'attention' are always present, so are
      'accuracy' (on clean images, where they are seen) and 'adversarial_accuracy'.
    """
    zeros = jnp.zeros(labels.shape, jnp.float32)
    terms = {"kl": zeros, "attention": zeros, "accuracy": zeros, "adversarial_accuracy": zeros}
    stats, views, auxiliary = batch_stats, [], zeros

    def correct(logits):
        return (jnp.argmax(logits, -1) == labels).astype(jnp.float32)

    clean = adversarial_logits = None
    if objective.needs_clean:
        update = objective.bn_update != "adversarial" or not objective.attacks
        clean, out, stats = forward(model, params, stats, images, sample, train=True, update=update, **options)
        terms["accuracy"] = correct(clean)
        if objective.auxiliary:
            auxiliary = cross_entropy(out["auxiliary"], labels)
        if objective.view != "adversarial":
            views.append(out)
    if objective.attacks:
        update = objective.bn_update != "clean" or not objective.needs_clean
        adversarial_logits, out, stats = forward(
            model, params, stats, adversarial, sample, train=True, update=update, **options
        )
        terms["adversarial_accuracy"] = correct(adversarial_logits)
        if objective.view != "clean":
            views.append(out)

    logits = Logits(
        clean,
        adversarial_logits,
        teacher_outputs.logits,
        teacher_outputs.teacher_adversarial,
        teacher_outputs.natural,
        teacher_outputs.natural_adversarial,
    )
    loss_state = objective.adversarial.update_loss_state(loss_state, logits, progress, average)
    terms["classification"] = objective.adversarial.loss(logits, labels, progress, loss_state)
    if objective.kl_weight:
        terms["kl"] = kl_divergence(teacher_outputs.logits, clean)
    if objective.gamma:
        terms["attention"] = sum(compare(out) for out in views) / len(views)
    terms["loss"] = terms["classification"] + objective.kl_weight * terms["kl"] + objective.gamma * terms["attention"]
    terms["loss"] += objective.auxiliary * auxiliary
    return terms, stats, loss_state
