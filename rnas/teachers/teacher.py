"""A teacher and its directory: `teacher.json`, its card, and its weights.

The weights are a checkpoint, `variables/`; or `weights.npz`, in half precision, of the teachers in `shipped/`, which
come with the package and whose paths are written `shipped:NAME`.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np

from rnas.artifacts.files import read_arrays, write_arrays, write_json
from rnas.artifacts.teacher_card import FILE as CARD
from rnas.artifacts.teacher_card import TeacherCard
from rnas.models import build_model
from rnas.training.checkpoints import Checkpoints

HALF = "weights.npz"  # float16, by names of parameters joined by '/'
SHIPPED = Path(__file__).parent / "shipped"


class Tap(NamedTuple):
    """An activation that can be matched, with the size of its map in pixels."""

    name: str
    height: int
    width: int
    channels: int


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen classifier with named activations.

    Attributes:
      model: a network of `rnas.models`.
      variables: {'params', 'batch_stats'}.
      architecture: the name of `model` in `rnas.models`.
      image_shape: [H,W,C] that it is meant for.
      fixed_size: whether `apply` refuses images of another size.
      origin: how it came to be (objective, epochs, accuracies …), for the reader.
      classes: that its logits are restricted to, in order; None for all.
    """

    model: Any
    variables: Any
    architecture: str
    image_shape: tuple[int, int, int]
    fixed_size: bool = False
    origin: dict = dataclasses.field(default_factory=dict)
    classes: tuple[int, ...] | None = None

    @functools.cached_property
    def apply(self) -> Callable:
        """(variables, images [N,H,W,C] float in [0, 1]) -> (logits [N,K], {tap name: [N,h,w,c]})."""

        def apply(variables, images):
            if self.fixed_size and images.shape[1:] != self.image_shape:
                raise ValueError(
                    f"this {self.architecture} was published for images of {self.image_shape} only: its code pools a "
                    f"window that is the whole image at that size alone. It was given images of {images.shape[1:]}."
                )
            logits, out = self.model.apply(variables, images, train=False)
            return (logits if self.classes is None else logits[:, np.asarray(self.classes)]), out

        return apply

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the variables; `identity` distinguishes teachers."""
        return content_hash(self.variables)

    @functools.cached_property
    def taps(self) -> tuple[Tap, ...]:
        """Its taps in forward order."""
        return describe_taps(self.model, self.image_shape)

    @property
    def tap_names(self) -> tuple[str, ...]:
        return tuple(tap.name for tap in self.taps)

    @property
    def mean(self) -> tuple[float, ...]:
        """What is subtracted from each channel inside the model, pixels in [0, 1]; `std` divides the difference."""
        return self.model.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.model.std

    @property
    def num_classes(self) -> int:
        return self.model.num_classes if self.classes is None else len(self.classes)

    def restricted(self, classes: Sequence[int]) -> "Teacher":
        """The same teacher restricted to some of its classes: its logits at `classes`, in that order."""
        kept = range(self.num_classes) if self.classes is None else self.classes
        return dataclasses.replace(self, classes=tuple(kept[place] for place in classes))

    @property
    def identity(self) -> dict[str, Any]:
        """All that its outputs depend on, JSON-able: weights behind another normalisation are another teacher."""
        return {
            "architecture": self.architecture,
            "hash": self.hash,
            "mean": list(self.mean),
            "std": list(self.std),
            "classes": None if self.classes is None else list(self.classes),
        }

    def halved(self) -> "Teacher":
        """The same teacher with weights rounded to half precision, which it goes on to compute in float32 with."""
        rounded = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16).astype(np.float32), self.variables)
        return dataclasses.replace(self, variables=rounded)

    def save(self, path: Path, *, half: bool = False) -> None:
        """Writes the teacher's directory; the card comes last, so a directory with a card is complete.

        `half` writes the weights as float16, in one file: of a teacher that is `halved`, or it will be refused.
        """
        if half:
            flat = flatten_dict(self.variables, sep="/")
            write_arrays(path / HALF, {name: np.asarray(leaf, np.float16) for name, leaf in flat.items()})
        else:
            with Checkpoints(path / "variables") as checkpoints:
                checkpoints.save(0, self.variables)
        kept = ("architecture", "image_shape", "mean", "std", "hash", "fixed_size", "origin")
        card = TeacherCard(num_classes=self.model.num_classes, **{name: getattr(self, name) for name in kept})
        write_json(path / CARD, card.to_json() | {"taps": [tap._asdict() for tap in self.taps]})


def describe_taps(model: nn.Module, image_shape: tuple[int, int, int], *args: Any) -> tuple[Tap, ...]:
    """Names and sizes of all taps of `model(images, *args)` for images of `image_shape` [H,W,C], without running it."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    _, out = jax.eval_shape(lambda images: model.init_with_output(jax.random.key(0), images, *args)[0], images)
    return tuple(Tap(name, *out[name].shape[1:]) for name in model.taps)


def content_hash(variables: Any) -> str:
    """SHA-256 over names, types, shapes and values of all leaves."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        leaf = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def identity_hash(identity: dict[str, Any]) -> str:
    """SHA-256 of what is JSON-able, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def save_teacher(path: Path, model: nn.Module, variables: Any, **described: Any) -> None:
    """Writes the directory of a teacher; `described` are further attributes of `Teacher`."""
    Teacher(model, jax.device_get(variables), **described).save(Path(path))


def teacher_directory(path: str | Path) -> Path:
    """The directory that a path, or `shipped:NAME`, stands for; raises ValueError for a name that is not shipped."""
    kind, colon, name = str(path).partition(":")
    if (kind, colon) != ("shipped", ":"):
        return Path(path)
    if not (SHIPPED / name / CARD).is_file():
        known = ", ".join(sorted(card.parent.name for card in SHIPPED.glob(f"*/{CARD}"))) or "none"
        raise ValueError(f"no teacher {name!r} comes with rnas; there is {known}.")
    return SHIPPED / name


def load_teacher(path: str | Path, *, dtype: jnp.dtype | None = None) -> Teacher:
    """Loads the directory of a teacher, or `shipped:NAME`; it will compute in `dtype`, None is float32.

    Raises ValueError where there is no teacher, or its weights are damaged or not those of its card.
    """
    path = teacher_directory(path)
    if not (path / CARD).is_file():
        raise ValueError(f"no teacher at {path}: expected a directory that holds {CARD!r} and its variables.")
    card = TeacherCard.read(path / CARD)
    try:
        normalisation = dict(mean=card.mean, std=card.std)
        model = build_model(card.architecture, num_classes=card.num_classes, dtype=dtype, **normalisation)
    except ValueError as error:
        raise ValueError(f"{path / CARD}: {error}") from error
    template = jax.eval_shape(lambda: dict(model.init(jax.random.key(0), jnp.zeros((1, *card.image_shape)))))
    variables = _half_variables(path, template) if (path / HALF).exists() else _variables(path, template)
    if variables is not None:
        teacher = Teacher(
            model,
            variables,
            architecture=card.architecture,
            image_shape=card.image_shape,
            fixed_size=card.fixed_size,
            origin=dict(card.origin),
        )
        if teacher.hash == card.hash:
            return teacher
    raise ValueError(f"the teacher at {path} lacks the weights its card names by hash; copy it again.")


def _variables(path: Path, template: Any) -> Any | None:
    with Checkpoints(path / "variables") as checkpoints:
        restored = checkpoints.restore(template)
    return restored and restored.state


def _half_variables(path: Path, template: Any) -> Any | None:
    """None where the file has other arrays than the template."""
    arrays = read_arrays(path / HALF)
    expected = {name: leaf.shape for name, leaf in flatten_dict(template, sep="/").items()}
    if {name: array.shape for name, array in arrays.items()} != expected:
        return None
    return unflatten_dict({name: array.astype(np.float32) for name, array in arrays.items()}, sep="/")
