"""Further training images, such as generated ones: another set of the same shape and classes."""

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
from pathlib import Path
import re
from typing import Any

import numpy as np

from rnas.data.datasets import Dataset, Split, image_and_label, open_builder, read_split


@dataclass(frozen=True, eq=False)
class ExtraImages:
    """Images that train beside those of a set, with its labels.

    Attributes:
      fingerprint: JSON-able record: name, count, how many were left out and why, the SHA-256 sum of images and labels.
    """

    images: Split
    fingerprint: dict[str, Any]


def load_extra(name: str, dataset: Dataset, *, data_dir: str | Path | None = None) -> ExtraImages:
    """Loads the training part of a set, to train beside `dataset`.

    Classes go by their names; where one of the sets has numbers alone, by number. Images of other classes are left out.
    So are those that equal an image of `dataset`, pixel by pixel: what judges must not train, what trains is there
    already.

    Args:
      name, data_dir: see `rnas.data.datasets.open_builder`.

    Raises ValueError as `read_split`, and for another shape, classes that do not fit, or where nothing is left.
    """
    builder = open_builder(name, data_dir)
    if "train" not in builder.info.splits:
        raise ValueError(f"data.extra: {builder.info.full_name!r} has no train part.")
    found = read_split(builder, "train")
    if found.images.shape[1:] != dataset.image_shape:
        raise ValueError(
            f"data.extra: {builder.info.full_name!r} has images of {found.images.shape[1:]}, {dataset.name!r} of "
            f"{dataset.image_shape}. Import it again in that size: rnas data import --size."
        )
    names = builder.info.features[image_and_label(builder)[1]].names
    labels = _renumbered(names, dataset)[found.labels]
    digests = [_digest(image) for image in found.images]
    left_out = {"other classes": labels < 0}
    for what, parts in (("held out or test", (dataset.validation, dataset.test)), ("training", (dataset.train,))):
        known = {_digest(image) for part in parts for image in part.images}
        left_out[what] = np.array([digest in known for digest in digests], bool)
    rows = np.flatnonzero(~np.any([*left_out.values()], axis=0))
    if not len(rows):
        raise ValueError(f"data.extra: of {len(found)} images of {builder.info.full_name!r} none may train.")
    images = Split(found.images[rows], labels[rows], found.ids[rows])
    return ExtraImages(
        images,
        {
            "name": builder.info.full_name,
            "count": len(images),
            "left_out": {what: int(each.sum()) for what, each in left_out.items()},
            "data_sha256": hashlib.sha256(images.images.tobytes() + images.labels.astype("<i4").tobytes()).hexdigest(),
        },
    )


def _renumbered(names: Sequence[str], dataset: Dataset) -> np.ndarray:
    """int32 [len(names)], the label in `dataset` of each class of another set, or -1.

    Raises ValueError where a class of `dataset` is missing.
    """
    own = [_plain(name) for name in dataset.class_names]
    theirs = [_plain(name) for name in names]
    if len(own) == len(theirs) and any(all(name.isdecimal() for name in each) for each in (own, theirs)):
        return np.arange(len(own), dtype=np.int32)
    if missing := [name for name, plain in zip(dataset.class_names, own, strict=True) if plain not in theirs]:
        raise ValueError(
            f"data.extra has the classes {', '.join(names)}, but not {', '.join(missing)}: expected those of "
            f"{dataset.name!r} under the same names."
        )
    return np.array([own.index(name) if name in own else -1 for name in theirs], np.int32)


def _plain(name: str) -> str:
    """A name by which classes are told apart: letters and digits alone."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
