"""Who learns from whom: tutors that a search chose, and tutors by rule, which those are compared with."""

from collections import Counter
import dataclasses
from typing import Any

import jax
import numpy as np

from rnas import objectives
from rnas.artifacts.architecture import TutorAssignment
from rnas.data.sampler import named_generator
from rnas.runs.baselines import RANDOM_TUTORS
from rnas.teachers import Teacher


def searched_assignment(teacher: Teacher, selector: Any) -> TutorAssignment:
    """The tutors that a searched selector [n_s, n_t] of logits prefers."""
    taps = teacher.tap_names
    return TutorAssignment(
        tutors=tuple(taps[j] for j in np.asarray(objectives.choose(selector))),
        teacher_taps=taps,
        probabilities=jax.nn.softmax(selector),
        logits=selector,
        teacher=teacher.identity,
    )


def fixed_assignment(name: str, searched: TutorAssignment, seed: int) -> TutorAssignment:
    """Gives every student tap a tutor among the taps of the same teacher, by a rule.

    Args:
      name: tutors_same_depth, the teacher tap at the same share of the depth; tutors_last_layer; tutors_hub, the tap
        that the search chose most often, the earliest of equals, for all; tutors_random_<k>, uniform draws.
      searched: what the search found.
      seed: of the draws; another k gives another draw.

    Raises ValueError where the search chose no tutors.
    """
    if not searched.tutors:
        raise ValueError(
            f"{name} needs a teacher's layers to choose from, but the search ran without tutors (gamma = 0)."
        )
    taps, count = searched.teacher_taps, len(searched.tutors)
    if RANDOM_TUTORS.fullmatch(name):
        chosen = named_generator(seed, name).integers(len(taps), size=count)
    elif name == "tutors_same_depth":
        # Halves are rounded up, so that no two layouts of the same sizes depend on the parity of a place.
        chosen = np.floor(np.linspace(0, len(taps) - 1, count) + 0.5).astype(int)
    elif name == "tutors_last_layer":
        chosen = np.full(count, len(taps) - 1)
    else:
        assert name == "tutors_hub", name
        votes = Counter(searched.tutors)
        chosen = np.full(count, max(range(len(taps)), key=lambda j: (votes[taps[j]], -j)))
    tutors = tuple(taps[j] for j in chosen)
    return dataclasses.replace(searched, tutors=tutors, probabilities=(), logits=())
