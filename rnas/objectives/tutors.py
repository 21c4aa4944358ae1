"""Which teacher layers a student that is trained learns from: fixed, or sampled anew in every step."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from rnas.objectives.attention import attention_distances, attention_maps, cross_layer_loss, paired_distances
from rnas.objectives.joint_objective import Objective
from rnas.objectives.selector import gumbel_softmax


@dataclasses.dataclass(frozen=True)
class FixedTutors:
    """Each student tap matches one teacher tap, known beforehand."""

    student_taps: tuple[str, ...]
    chosen: tuple[str, ...]  # teacher tap of each student tap
    available: int  # teacher taps that could have been chosen, n_t

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The chosen taps, each once: the teacher's other maps are never computed."""
        return tuple(dict.fromkeys(self.chosen))

    def loss(self, out, maps, key, objective: Objective):
        del key  # nothing is drawn
        rows = np.array([self.teacher_taps.index(tap) for tap in self.chosen])
        student = attention_maps(out, self.student_taps, objective.size, objective.normalise)
        distances = paired_distances(student, maps[:, rows])
        scale = {"sum_layers": 1.0, "paper": 1.0 / (len(self.chosen) * self.available)}
        return scale[objective.reduction] * jnp.sum(distances, axis=-1)


@dataclasses.dataclass(frozen=True)
class SampledTutors:
    """Soft Gumbel samples of searched logits in every step, as the released code trains."""

    student_taps: tuple[str, ...]
    teacher_taps: tuple[str, ...]
    logits: tuple[tuple[float, ...], ...]  # [n_s, n_t]
    temperature: float = 0.055

    def loss(self, out, maps, key, objective: Objective):
        student = attention_maps(out, self.student_taps, objective.size, objective.normalise)
        weights = gumbel_softmax(key, jnp.asarray(self.logits), self.temperature)
        distances = attention_distances(student, maps)
        return cross_layer_loss(distances, weights, objective.reduction)
