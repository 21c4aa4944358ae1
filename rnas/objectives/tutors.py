"""The teacher layers that a student layer learns from: fixed, sampled from logits that were searched, or searched."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from rnas.objectives.attention import attention_distances, attention_maps, cross_layer_loss, paired_distances
from rnas.objectives.joint_objective import Objective
from rnas.objectives.selector import gumbel_softmax

Taps = Mapping[str, jax.Array]  # activations [N,H,W,C] by name


def soft_tutor_loss(
    out: Taps,
    taps: Sequence[str],
    teacher_maps: jax.Array,
    objective: Objective,
    draw: Callable[[], jax.Array],
    penalty: Sequence[float] = (),
) -> jax.Array:
    """Returns the cross-layer loss [N] where every student layer has a mixture of tutors (RNAS-CL, eq. 1).

    Args:
      out: activations of the student, of which the n_s `taps` take part.
      teacher_maps: [N,n_t,P].
      objective: size, normalisation and reduction of the maps.
      draw: gives the mixtures [n_s,n_t], whose rows sum to 1.
      penalty: [n_t], added to the distances from each teacher tap; it moves the mixtures alone. Empty for none.
    """
    maps = attention_maps(out, taps, objective.size, objective.normalise)
    weights = draw()
    distances = attention_distances(maps, teacher_maps)
    if len(penalty):
        distances += jnp.asarray(penalty, distances.dtype)[None, None, :]
    return cross_layer_loss(distances, weights, objective.reduction)


@dataclasses.dataclass(frozen=True, eq=False)
class IndexedTutors:
    """Each student tap matches one teacher tap, whose place is an entry of an array that may be traced.

    Attributes:
      student_taps: n_s.
      teacher_taps: whose maps there are, n.
      available: teacher taps that could have been chosen, n_t.
      rows: [n_s] integers, of `teacher_taps`; None for a template of several choices.
    """

    student_taps: tuple[str, ...]
    teacher_taps: tuple[str, ...]
    available: int
    rows: jax.Array | np.ndarray | None = None

    def loss(self, out: Taps, maps: jax.Array, key: jax.Array, objective: Objective) -> jax.Array:
        """Returns the cross-layer loss [N] against `maps` [N,n,P] of `teacher_taps`."""
        del key  # nothing is drawn
        student = attention_maps(out, self.student_taps, objective.size, objective.normalise)
        distances = paired_distances(student, maps[:, self.rows])
        scale = {"sum_layers": 1.0, "paper": 1.0 / (len(self.student_taps) * self.available)}
        return scale[objective.reduction] * jnp.sum(distances, axis=-1)


@dataclasses.dataclass(frozen=True)
class FixedTutors:
    """Each student tap matches one teacher tap, known beforehand.

    Attributes:
      student_taps: n_s.
      chosen: teacher tap of each student tap.
      available: teacher taps that could have been chosen, n_t.
    """

    student_taps: tuple[str, ...]
    chosen: tuple[str, ...]
    available: int

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The chosen taps, each once: the teacher's other maps are never computed."""
        return tuple(dict.fromkeys(self.chosen))

    def loss(self, out: Taps, maps: jax.Array, key: jax.Array, objective: Objective) -> jax.Array:
        """Returns the cross-layer loss [N] against `maps` [N,n,P] of `teacher_taps`."""
        tutors, rows = index_tutors([self])
        return dataclasses.replace(tutors, rows=rows[0]).loss(out, maps, key, objective)


def index_tutors(choices: Sequence[FixedTutors | None]) -> tuple[IndexedTutors, np.ndarray]:
    """Returns a template of several choices for one student, and the rows [P,n_s] of each.

    The template has each teacher tap that is chosen, once. A choice of None has the rows of another one.
    """
    given = [choice for choice in choices if choice is not None]
    student_taps, available = given[0].student_taps, given[0].available
    assert all((choice.student_taps, choice.available) == (student_taps, available) for choice in given), given
    taps = tuple(dict.fromkeys(tap for choice in given for tap in choice.chosen))
    rows = [[taps.index(tap) for tap in (choice or given[0]).chosen] for choice in choices]
    return IndexedTutors(student_taps, taps, available), np.array(rows, np.int32)


@dataclasses.dataclass(frozen=True)
class SampledTutors:
    """Soft Gumbel samples of searched logits in every step, as the released code trains.

    Attributes:
      student_taps: n_s.
      teacher_taps: n_t.
      logits: [n_s, n_t].
      temperature: of the samples.
    """

    student_taps: tuple[str, ...]
    teacher_taps: tuple[str, ...]
    logits: tuple[tuple[float, ...], ...]
    temperature: float = 0.055

    def loss(self, out: Taps, maps: jax.Array, key: jax.Array, objective: Objective) -> jax.Array:
        """Returns the cross-layer loss [N] against `maps` [N,n_t,P]; `key` draws the mixtures."""

        def draw():
            return gumbel_softmax(key, jnp.asarray(self.logits), self.temperature)

        return soft_tutor_loss(out, self.student_taps, maps, objective, draw)
