"""Models as subjects of an evaluation."""

import functools

from rnas.evaluation import EvaluatedModel
from rnas.layers.counting import count
from rnas.teachers import Teacher
from rnas.teachers.teacher import identity_hash


def teacher_subject(teacher: Teacher, image_shape: tuple[int, int, int], *, source: str) -> EvaluatedModel:
    """A teacher as the subject of an evaluation; `source` says where it was found."""
    counted = count(teacher.model, image_shape)
    return EvaluatedModel(
        predict=functools.partial(_logits, teacher.apply),
        variables=teacher.variables,
        num_classes=teacher.num_classes,
        name="teacher",
        hash=identity_hash(teacher.identity),
        source=source,
        architecture=teacher.architecture,
        params=counted.params,
        macs=counted.macs,
    )


def _logits(apply, variables, images):
    return apply(variables, images)[0]
