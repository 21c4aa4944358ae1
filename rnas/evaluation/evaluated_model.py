"""A frozen model under evaluation."""

from collections.abc import Callable
import dataclasses
import functools
import hashlib
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnas.artifacts.attack import AttackedModel
from rnas.artifacts.evaluation import Checkpoint
from rnas.attacks.direct import count_classes
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
    checkpoint: Checkpoint | None = None  # which it is; None where that is not known
    network: nn.Module | None = None  # of `rnas.models`, in float32; None where `predict` is all that is known

    def facts(self) -> AttackedModel:
        """What `attack.json` stores of it."""
        return AttackedModel(**{field.name: getattr(self, field.name) for field in dataclasses.fields(AttackedModel)})


def function_model(
    logits_fn: Callable[..., jax.Array], images: np.ndarray, name: str, *draw: jax.Array
) -> EvaluatedModel:
    """Any JAX function as an evaluated model; it is recognised by its logits on the first of `images`.

    Args:
      logits_fn: images [N, H, W, C] float32 in [0, 1] → logits [N, K]; with `draw`, a key, as second argument.
      images: float32 [N, H, W, C].
    """
    num_classes = count_classes(logits_fn, images, *draw)
    logits = jax.jit(lambda *inputs: logits_fn(*inputs))(images[:4], *draw) if len(images) else np.zeros(0)
    return EvaluatedModel(
        name=name,
        hash=hashlib.sha256(np.round(np.asarray(logits, np.float64), 3).tobytes()).hexdigest(),
        num_classes=num_classes,
        predict=lambda variables, *inputs: logits_fn(*inputs),
        variables=np.zeros(()),  # pmap wants an array
    )


def in_float32(network: nn.Module) -> nn.Module:
    """The network, computing in float32: all models are judged so, whatever type they were trained in."""
    return network if getattr(network, "dtype", None) is None else network.clone(dtype=None)


def shorter_floats(model: EvaluatedModel, image_shape: tuple[int, ...], *draw: jax.Array) -> list[str]:
    """Names of the floating types below float32 in which the model computes, by its traced program.

    Args:
      image_shape: (H, W, C).
      draw: a key for a model that draws random numbers.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    program = str(jax.make_jaxpr(model.predict)(model.variables, image, *draw))
    found = sorted(set(re.findall(r":(bf16|f16|f8\w*)\[", program)))
    return [{"bf16": "bfloat16", "f16": "float16"}.get(name, name) for name in found]


def evaluated_teacher(teacher: Teacher, image_shape: tuple[int, int, int], *, source: str) -> EvaluatedModel:
    """A teacher that computes in float32 as an evaluated model; `source` is where it was found."""
    assert getattr(teacher.model, "dtype", None) is None, "load it without a dtype"
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
        network=teacher.model,
        **count(teacher.model, image_shape)._asdict(),
    )


def _logits(apply, variables, images):
    return apply(variables, images)[0]
