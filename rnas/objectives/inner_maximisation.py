"""The inner maximisation: adversarial images of the network that is being trained."""

from jax import lax

from rnas import attacks
from rnas.objectives.forward_pass import forward
from rnas.objectives.joint_objective import Objective


def adversarial_images(model, objective: Objective, params, batch_stats, images, labels, keys, sample, teacher_outputs):
    """Attacks the current network with the inner maximisation that belongs to the objective.

    Returns:
      (images [N,H,W,C] in the ε-ball and in [0, 1], running statistics after the attack).
    """
    train = objective.attack_bn != "eval"
    update = objective.attack_bn == "train"
    method = objective.adversarial

    target = None
    if method.away_from == "student":
        target, _, _ = forward(model, params, batch_stats, images, sample, train=train, update=False)
    elif method.away_from == "teacher":
        target = teacher_outputs.logits
    target = lax.stop_gradient(target)

    def ascent_loss(points, stats):
        logits, _, stats = forward(model, params, stats, points, sample, train=train, update=update)
        return method.ascent(logits, target, labels), stats

    return attacks.projected_ascent(
        ascent_loss,
        attacks.initial_images(keys, images, objective.epsilon, objective.start),
        images,
        epsilon=objective.epsilon,
        step_size=objective.step_size,
        steps=objective.steps,
        carry=batch_stats,
    )
