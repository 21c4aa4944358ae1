"""A frozen model under evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
import functools
from typing import Any

import jax

from rnas.artifacts.attack import AttackedModel
from rnas.layers.counting import count
from rnas.teachers import Teacher
from rnas.teachers.teacher import identity_hash


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A frozen model under evaluation.

    Attributes:
      predict: (variables, images [N,H,W,C] float in [0, 1]) -> logits [N,K]; of a random model with a key as
        third argument, from which all its randomness comes.
      variables: whatever `predict` takes.
      num_classes: K.
      name: in files, such as 'baseline_trades'.
      hash: of all that makes this model differ from others.
      kind: one of `rnas.artifacts.attack.MODEL_KINDS`.
      label: what people read, such as 'TRADES'; the name where it is empty.
      source, architecture: where it was found and what it is, for people.
      params, macs: its size, if known.
    """

    predict: Callable[..., jax.Array]
    variables: Any
    num_classes: int
    name: str
    hash: str
    kind: str = "function"
    label: str = ""
    source: str = ""
    architecture: str = ""
    params: int | None = None
    macs: int | None = None

    def __post_init__(self):
        if not self.label:
            object.__setattr__(self, "label", self.name)

    def facts(self) -> AttackedModel:
        """What `attack.json` stores of it."""
        return AttackedModel(**{name: getattr(self, name) for name in AttackedModel.__dataclass_fields__})


def evaluated_teacher(teacher: Teacher, image_shape: tuple[int, int, int], *, source: str) -> EvaluatedModel:
    """A teacher as an evaluated model; `source` is where it was found."""
    counted = count(teacher.model, image_shape)
    return EvaluatedModel(
        predict=functools.partial(_logits, teacher.apply),
        variables=teacher.variables,
        num_classes=teacher.num_classes,
        name="teacher",
        hash=identity_hash(teacher.identity),
        kind="teacher",
        label="Teacher",
        source=source,
        architecture=teacher.architecture,
        params=counted.params,
        macs=counted.macs,
    )


def _logits(apply, variables, images):
    return apply(variables, images)[0]
