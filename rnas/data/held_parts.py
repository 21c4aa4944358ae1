"""Validation and test images of a streamed set: decoded once, then kept as one file a part, which memory maps."""

from __future__ import annotations

from collections.abc import Callable
import concurrent.futures
import contextlib
import hashlib
from pathlib import Path

import numpy as np

from rnas.artifacts.files import read_object, replaced, write_json
from rnas.attacks.batching import cores
from rnas.data.datasets import Dataset, Split, cache_folder
from rnas.data.stream import PARTS, Stream

HELD = ("validation", "test")


def load_held_parts(name: str, open_part: Callable[[str], Stream]) -> Dataset:
    """Both parts as a `Dataset` whose training part stays on disk.

    `train` is empty; `fingerprint['counts']['train']` is its size. `open_part` opens the `Stream` of a part, the whole
    of it on every host.
    """
    parts = {part: open_part(part) for part in PARTS}
    validation, test = (held_part(parts[part]) for part in HELD)
    train = parts["train"]
    return Dataset(
        name=name,
        version=train.version,
        num_classes=train.num_classes,
        class_names=train.class_names,
        image_shape=train.image_shape,
        train=train.read(train.rows[:0]),
        validation=validation,
        test=test,
        fingerprint={
            "name": f"{name}:{train.version}",
            "counts": {"train": len(train.rows), "validation": len(validation), "test": len(test)},
            "held_out_ids_sha256": _sha256(validation.ids.astype("<i8")),
        },
    )


def held_part(stream: Stream) -> Split:
    """All images of a part, [N, S, S, C] uint8, mapped from the file in `cache_folder()` that keeps them.

    Where there is none, or one that is damaged, they are decoded by as many threads as there are cores.
    """
    identity = hashlib.sha256(f"{stream.identity} {_sha256(stream.rows.astype('<i8'))}".encode()).hexdigest()
    path = cache_folder() / "held_parts" / f"{identity}.npy"
    with contextlib.suppress(ValueError, OSError):  # missing, or damaged: decoded again
        return _kept(path, stream)
    labels = np.empty(len(stream.rows), np.int32)
    with replaced(path) as temporary, concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        images = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(stream.rows), *stream.image_shape))
        for place, (image, label) in enumerate(pool.map(stream.held, stream.rows)):
            images[place], labels[place] = image, label
        images.flush()
        known = {"images_sha256": _sha256(images), "labels": labels.tolist()}
    write_json(path.with_suffix(".json"), known)  # last: without it the file does not count
    return _kept(path, stream)


def _kept(path: Path, stream: Stream) -> Split:
    """Raises ValueError or OSError where the file is not there, or not what was written."""
    known = read_object(path.with_suffix(".json"))
    images, labels = np.load(path, mmap_mode="r"), np.asarray(known.get("labels"), np.int32)
    shape = (len(stream.rows), *stream.image_shape)
    if (images.shape, images.dtype, labels.shape) != (shape, np.uint8, shape[:1]):
        raise ValueError(f"{path} has images {images.shape} of {images.dtype}.")
    if _sha256(images) != known.get("images_sha256"):
        raise ValueError(f"{path} is damaged.")
    return Split(images, labels, stream.rows.astype(np.int64))


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data if array.size else b"").hexdigest()
