"""Outputs of frozen teachers that an objective needs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax

from rnas.objectives.attention import attention_maps
from rnas.objectives.joint_objective import Objective

PyTree = Any
# (variables, images) -> (logits, taps by name), in inference mode
TeacherApply = Callable[[PyTree, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


class TeacherOutputs(NamedTuple):
    """Outputs of frozen teachers for one batch, None where the objective does not need them.

    Attributes:
      logits: [N,K] of the robust teacher on clean images.
      maps: [N,n_t,P], its attention maps on clean images.
      teacher_adversarial, natural, natural_adversarial: [N,K], see `rnas.objectives.Logits`.
    """

    logits: jax.Array | None = None
    maps: jax.Array | None = None
    teacher_adversarial: jax.Array | None = None
    natural: jax.Array | None = None
    natural_adversarial: jax.Array | None = None


def run_teacher(
    teacher: TeacherApply | None, variables: PyTree, images: jax.Array, objective: Objective, taps: Sequence[str]
) -> TeacherOutputs:
    """Runs the teacher once on clean images; attention maps of `taps` only where the objective uses them."""
    if not objective.needs_teacher_on_clean:
        return TeacherOutputs()
    logits, out = teacher(variables, images)
    maps = None
    if objective.gamma:
        maps = attention_maps(out, taps, objective.size, objective.normalise)
    return lax.stop_gradient(TeacherOutputs(logits, maps))


def run_teachers_on_adversarial(
    teacher_outputs: TeacherOutputs,
    teacher: TeacherApply | None,
    natural: TeacherApply | None,
    variables: PyTree,
    images: jax.Array,
    adversarial: jax.Array,
    objective: Objective,
) -> TeacherOutputs:
    """Adds the outputs that the method needs after the attack.

    Args:
      teacher_outputs: on clean images.
      teacher, natural: the robust and the naturally trained teacher; `variables` are of both.
      images, adversarial: [N,H,W,C].
    """
    passes = {
        "teacher_adversarial": (teacher, adversarial),
        "natural": (natural, images),
        "natural_adversarial": (natural, adversarial),
    }
    needed = (name for name in objective.adversarial.needs if name in passes)
    further = {name: passes[name][0](variables, passes[name][1])[0] for name in needed}
    return teacher_outputs._replace(**lax.stop_gradient(further))
