"""Teachers made of published PyTorch checkpoints.

The weights are those of the file, to the bit where it is float32. What the file lacks must be given and is never
guessed: the normalisation where no buffer holds it, and what distinguishes networks whose tensors are the same.
"""

import hashlib
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

import rnas
from rnas.models import build_model
from rnas.teachers.families import Recognised, recognise
from rnas.teachers.normalization import NAMED, Normalization, name_of, read_normalization
from rnas.teachers.readers.archive import LARGEST, read_checkpoint
from rnas.teachers.readers.conversion import convert
from rnas.teachers.readers.unwrapping import Unwrapped, unwrap
from rnas.teachers.registry import Published, find_published
from rnas.teachers.teacher import Teacher

DATASETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet": "imagenet2012"}  # of TFDS


def import_torch(
    path: str | Path,
    architecture: str | None = None,
    normalization: str | tuple | None = None,
    *,
    published: str | None = None,
    entry: str | None = None,
    image_size: int | None = None,
    trust: bool = False,
    dtype: Any = None,
) -> Teacher:
    """Reads a checkpoint of PyTorch, safetensors or NumPy (.npz) as a frozen teacher.

    Args:
      path: the file.
      architecture: a name of `rnas.models.build_model`; None takes the one that the tensors fit.
      normalization: inside the model, see `read_normalization`; None takes that of the file or of `published`.
      published: name of a network in `rnas.teachers.registry`, which has architecture and normalisation.
      entry: where in the file the state is; None looks at the usual places.
      image_size: pixels a side; None is 32, for ImageNet networks 224 or that of `published`.
      trust: whether to read what only PyTorch can, see `rnas.teachers.readers.trusted`.
      dtype: of the computation; None is float32.

    Raises:
      ValueError: the file cannot be read, is of another network, leaves a question open, or contradicts an argument.
    """
    path = Path(path)
    known = None if published is None else find_published(published)
    contents = read_checkpoint(path, trust=trust)
    try:
        found = unwrap(contents.content, entry)
        if (size := 4 * sum(tensor.size for tensor in found.tensors.values())) > LARGEST:
            raise ValueError(f"its tensors would take {size:,} bytes in memory; at most {LARGEST:,} are read.")
        recognised = recognise({name: tensor.shape for name, tensor in found.tensors.items()})
        architecture = _architecture(recognised, architecture, known)
        channels, classes = recognised.channels, recognised.num_classes
        if known and classes != known.num_classes:
            raise ValueError(f"it has {classes} classes, but {known.key} has {known.num_classes}.")
        normaliser, source = _normalization(found, normalization, known, channels)
        size = _image_size(recognised, image_size, known)
        model = build_model(architecture, num_classes=classes, mean=normaliser.mean, std=normaliser.std, dtype=dtype)
        variables = convert(found.tensors, model, (size, size, channels))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    with open(path, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    origin: dict[str, Any] = {
        "imported_by": f"rnas {rnas.__version__}",
        "source": {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256, "format": contents.format},
        "family": recognised.family,
        **found.origin,
        "foreign_classes": list(contents.foreign),
        "dtypes": sorted({str(tensor.dtype) for tensor in found.tensors.values()}),
        "normalization": {"name": name_of(normaliser), "from": source},
    }
    if known:
        origin["dataset"] = {"name": DATASETS[known.dataset]}
        if not recognised.fixed_size and size == known.image_size:
            origin["dataset"]["resize"] = known.resize
        figures = ("clean", "autoattack", "external", "epsilon", "paper")
        origin["published"] = {"name": known.key, **{name: getattr(known, name) for name in figures}}
    return Teacher(model, variables, architecture, (size, size, channels), recognised.fixed_size, origin)


def as_text(teacher: Teacher) -> str:
    """What was read from the file of an imported teacher, for a terminal."""
    origin = teacher.origin
    source, normalization = origin["source"], origin["normalization"]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(teacher.variables["params"]))
    chosen = (
        origin["entry"] and f"state at {origin['entry']!r}",
        origin["other_entries"] and f"not taken: {', '.join(map(repr, origin['other_entries']))}",
        origin["prefix"] and f"prefix {origin['prefix']!r} removed",
    )
    mean, std = (" ".join(f"{number:.4f}" for number in numbers) for numbers in (teacher.mean, teacher.std))
    height, width, channels = teacher.image_shape
    lines = [
        f"{teacher.architecture} ({origin['family']}), {teacher.num_classes} classes, {parameters:,} parameters",
        f"  images: {height}x{width}x{channels}{', no other size' if teacher.fixed_size else ''}",
        f"  normalisation: {normalization['name'] or 'unnamed'}, from {normalization['from']}: mean {mean}, std {std}",
        f"  taps: {len(teacher.taps)}, from {teacher.taps[0].name} to {teacher.taps[-1].name}",
        f"  file: {source['format']}, {source['bytes']:,} bytes of {', '.join(origin['dtypes'])}, sha256 "
        f"{source['sha256']}",
    ]
    lines += [f"  {'; '.join(filter(None, chosen))}"] if any(chosen) else []
    lines += [f"  left out: {number} {reason}" for reason, number in origin["ignored"].items()]
    if published := origin.get("published"):
        lines.append(
            f"  {published['name']} ({published['paper']}): {published['clean']} % clean, {published['autoattack']} % "
            f"under AutoAttack at {published['epsilon']}"
        )
    return "\n".join(lines)


def _architecture(recognised: Recognised, given: str | None, known: Published | None) -> str:
    possible = " or ".join(recognised.architectures)
    names = [(given, "it was called")] if given else []
    names += [(known.architecture, f"{known.key} is")] if known else []
    models = {_blank(name): name for name in recognised.architectures}  # for example, resnet18_w64 is resnet18
    for name, words in names:
        if _blank(name) not in models:
            raise ValueError(f"its tensors are those of {possible} ({recognised.family}), but {words} {name}.")
    chosen = {models[_blank(name)] for name, _ in names} or set(recognised.architectures)
    if len(chosen) > 1:
        question = f"its tensors leave open {recognised.choice}" if not names else "the given names differ"
        raise ValueError(f"{question}: give one architecture, {possible}.")
    return chosen.pop()


def _blank(architecture: str) -> nn.Module:
    return build_model(architecture, num_classes=1, mean=(0.0,), std=(1.0,))


def _normalization(
    found: Unwrapped, given: str | tuple | None, known: Published | None, channels: int
) -> tuple[Normalization, str]:
    """The normalisation and where it comes from; all sources must agree."""
    wanted: list[tuple[str, Any]] = []
    kinds = [np.dtype(float)] * 2
    if found.normaliser:
        wanted.append(("the file", [buffer.tolist() for buffer in found.normaliser]))
        kinds = [buffer.dtype for buffer in found.normaliser]  # which may be half precision
    wanted += [("the user", given)] if given is not None else []
    wanted += [(known.key, known.normalization)] if known else []
    sources = [(source, read_normalization(value, channels)) for source, value in wanted]
    if not sources:
        raise ValueError(
            "it does not contain how images are normalised inside the model, nor can weights show it; give a "
            f"normalization, one of {', '.join(NAMED)} or the numbers, or the published name of the network."
        )
    (source, first), *others = sources
    for other, value in others:
        rounded = (np.asarray(numbers, kind).astype(float).tolist() for numbers, kind in zip(value, kinds, strict=True))
        if not first.near(Normalization(*rounded)):
            raise ValueError(f"the normalisation of {source} is {first}, that of {other} is {value}.")
    return first, source


def _image_size(recognised: Recognised, given: int | None, known: Published | None) -> int:
    if given is not None and given < 1:
        raise ValueError(f"image_size={given}: expected at least 1 pixel.")
    size = given or (known.image_size if known else 32 if recognised.fixed_size else 224)
    if recognised.fixed_size and size != 32:
        only = "its published code pools a window that is the whole image at 32x32 pixels only"
        raise ValueError(f"{only}, so it cannot be used at {size}x{size}.")
    return size
