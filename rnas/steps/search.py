"""What the steps of all searches share."""

from collections.abc import Callable, Mapping
import dataclasses
import functools

import flax.linen as nn
import jax

from rnas import objectives
from rnas.steps.augmentation import Augmentation
from rnas.steps.optimizer import Optimizer
from rnas.steps.replicas import PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class SearchStep:
    """Base of the steps that train a supernet and its architecture.

    Attributes:
      supernet: `supernet.apply(variables, images, sample, train=…) -> (logits, out)`.
      objective: A, attack, and weights of the terms.
      augmentation: of the images.
      optimizer: of the weights.
      arch_optimizer: of the architecture.
      sampling: of widths and tutors.
      teacher: (variables, images) -> (logits, out), frozen; None where the objective needs none.
      teacher_taps: that tutors are chosen from.
      tutor_penalty: of each of these taps, added to its distance from every student tap; empty for none.
    """

    supernet: nn.Module
    objective: objectives.Objective
    augmentation: Augmentation
    optimizer: Optimizer
    arch_optimizer: Optimizer
    sampling: objectives.Sampling
    _: dataclasses.KW_ONLY
    teacher: objectives.TeacherApply | None = None
    teacher_taps: tuple[str, ...] = ()
    tutor_penalty: tuple[float, ...] = ()

    def teacher_outputs(self, variables: PyTree, images: jax.Array) -> objectives.TeacherOutputs:
        return objectives.run_teacher(self.teacher, variables, images, self.objective, self.teacher_taps)

    def joint_terms(
        self,
        network: objectives.Network,
        objective: objectives.Objective,
        batch: objectives.Batch,
        architecture: Mapping[str, PyTree],
        tutor_key: jax.Array,
        step: jax.Array,
    ) -> tuple[dict[str, jax.Array], PyTree]:
        """Returns (terms [N], running statistics) of an objective, with a mixture of tutors from the architecture."""

        def attention_loss(out: Mapping[str, jax.Array]) -> jax.Array:
            draw: Callable = functools.partial(self.sampling.tutors, tutor_key, architecture["tutors"], step)
            maps = batch.teacher_outputs.maps
            return objectives.soft_tutor_loss(out, self.supernet.taps, maps, objective, draw, self.tutor_penalty)

        terms, stats, _ = objectives.joint_terms(network, objective, batch, attention_loss)
        return terms, stats
