"""A frozen model under evaluation."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax

from rnas.artifacts.attack import AttackedModel
from rnas.layers.counting import count
from rnas.teachers import Teacher
from rnas.teachers.teacher import identity_hash


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class EvaluatedModel(AttackedModel):
    """A frozen model under evaluation, with what `attack.json` stores of it."""

    # (variables, images [N,H,W,C] float in [0, 1]) -> logits [N,K]; of a random model with a key as third argument,
    # from which all its randomness comes.
    predict: Callable[..., jax.Array]
    variables: Any  # whatever `predict` takes

    def facts(self) -> AttackedModel:
        """What `attack.json` stores of it."""
        return AttackedModel(**{field.name: getattr(self, field.name) for field in dataclasses.fields(AttackedModel)})


def evaluated_teacher(teacher: Teacher, image_shape: tuple[int, int, int], *, source: str) -> EvaluatedModel:
    """A teacher as an evaluated model; `source` is where it was found."""
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
        **count(teacher.model, image_shape)._asdict(),
    )


def _logits(apply, variables, images):
    return apply(variables, images)[0]
