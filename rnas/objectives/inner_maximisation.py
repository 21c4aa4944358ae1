"""The inner maximisation: adversarial images of the network that is being trained."""

import dataclasses
from typing import Any

import jax
from jax import lax

from rnas import attacks
from rnas.objectives.joint_objective import Objective
from rnas.objectives.mixed_labels import Labels, over_labels
from rnas.objectives.network import Network
from rnas.objectives.teacher_outputs import TeacherOutputs

PyTree = Any


def adversarial_images(
    network: Network,
    objective: Objective,
    images: jax.Array,
    labels: Labels,
    keys: jax.Array,
    teacher_outputs: TeacherOutputs,
) -> tuple[jax.Array, PyTree]:
    """Attacks the network with the inner maximisation that belongs to the objective.

    Args:
      images, labels: [N,H,W,C] in [0, 1], [N], of mixed images two each.
      keys: [N], of the random starts.
      teacher_outputs: on the clean images, for methods whose attack leads away from them.

    Returns:
      (images [N,H,W,C] in the ε-ball and in [0, 1], running statistics after the attack).
    """
    train = objective.attack_bn != "eval"
    update = objective.attack_bn == "train"
    method = objective.adversarial

    target = None
    if method.away_from == "student":
        target, _, _ = network.forward(images, train=train, update=False)
    elif method.away_from == "teacher":
        target = teacher_outputs.logits
    target = lax.stop_gradient(target)

    def ascent_loss(points, batch_stats):
        now = dataclasses.replace(network, batch_stats=batch_stats)
        logits, _, batch_stats = now.forward(points, train=train, update=update)
        return over_labels(lambda labels: method.ascent(logits, target, labels), labels), batch_stats

    return attacks.projected_ascent(
        ascent_loss,
        attacks.initial_images(keys, images, objective.epsilon, objective.start),
        images,
        epsilon=objective.epsilon,
        step_size=objective.step_size,
        steps=objective.steps,
        carry=network.batch_stats,
    )
