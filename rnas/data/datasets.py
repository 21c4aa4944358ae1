"""Image classification sets as arrays of bytes: any TFDS set in array_record format, without TensorFlow."""

from collections.abc import Iterator, Sequence
import contextlib
from dataclasses import dataclass
import difflib
import hashlib
import io
import os
from pathlib import Path
import re
import shlex
import sys

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from rnas.data.balance import balanced_rows
from rnas.data.digits import prepare_digits
from rnas.data.writer import INFO

_CHUNK = 4096  # records read at once
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of PIL, by number of channels


@dataclass(frozen=True, eq=False)
class Split:
    """Some images of a dataset."""

    images: np.ndarray  # [N, H, W, C] uint8
    labels: np.ndarray  # [N] int32
    ids: np.ndarray  # [N] int64, the row of each image in its TFDS split

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Split":
        """The images at these positions of this split."""
        return Split(self.images[rows], self.labels[rows], self.ids[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in three parts; `validation` is cut from the published training part.

    Attributes:
      fingerprint: JSON-able record of all this: name, version, description, counts, and SHA-256 sums of the
        held-out ids (little-endian int64) and of all images and labels in TFDS order.
    """

    name: str  # as it was given
    version: str  # of the TFDS set
    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]  # (H, W, C)
    train: Split
    validation: Split  # what model choice may look at; empty with `held_out=0`
    test: Split  # read once, at the end
    fingerprint: dict


def cache_folder() -> Path:
    """Where this package keeps what it can make again: $XDG_CACHE_HOME/rnas or ~/.cache/rnas."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rnas"


def open_builder(name: str, data_dir: str | Path | None) -> tfds.core.DatasetBuilder:
    """The builder of a prepared TFDS set that can be read at random, from its files alone.

    Args:
      name: `dataset`, `dataset/config`, `dataset:version` or `dataset/version`. `digits` is prepared where it is
        missing.
      data_dir: the TFDS folder, or that of the set itself, as `rnas data import` makes it; None means `cache_folder()`
        for `digits`, else what TFDS itself uses ($TFDS_DATA_DIR or ~/tensorflow_datasets).

    Raises ValueError if the name is unknown or another one's, the set is not prepared there, or its files are not
    array_record.
    """
    name = re.sub(r"/(\d+\.\d+\.\d+)$", r":\1", name)  # as TFDS prints it
    base_name = name.split(":")[0].split("/")[0]
    if data_dir is None:
        data_dir = cache_folder() if base_name == "digits" else tfds.core.constants.DATA_DIR
    folder = tfds.core.Path(data_dir).expanduser()
    if (folder / INFO).exists():
        return _in_array_records(_open_folder(folder, base_name), f"Import it again into another folder than {folder}.")
    if base_name == "digits":
        prepare_digits(folder)
    prepared = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.exists() else []
    known = tfds.list_builders(with_community_datasets=False)
    if base_name not in known and base_name not in prepared:
        near = difflib.get_close_matches(base_name, sorted({*known, *prepared}), n=5, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "expected the name of a TFDS dataset."
        raise ValueError(f"unknown dataset {name!r}; {hint} Prepared in {folder}: {', '.join(prepared) or 'nothing'}")

    python = shlex.quote(sys.executable or "python")
    command = (
        f"{python} -m pip install 'tensorflow>=2.19,<3' && {python} -c \"import tensorflow_datasets as tfds; "
        f"tfds.builder({name!r}, data_dir={str(folder)!r}, file_format='array_record').download_and_prepare()\""
    )
    try:
        builder = read_only_builder.builder_from_files(name, data_dir=str(folder))
    except tfds.core.DatasetNotFoundError:
        state = f"has no prepared {name!r}" if folder.exists() else "does not exist"
        raise ValueError(
            f"data_dir={str(folder)!r} {state}. Give the folder that holds {base_name}/<version>/, "
            f"or run once:\n  {command}"
        ) from None
    return _in_array_records(builder, f"Move them away and prepare the set again:\n  {command}")


def _open_folder(folder: tfds.core.Path, name: str) -> tfds.core.DatasetBuilder:
    """The builder of the set that a folder itself is; raises ValueError where it is damaged or has another name."""
    try:
        builder = read_only_builder.builder_from_directory(folder)
    except Exception as error:  # of files that have been edited or cut short, almost anything
        raise ValueError(f"data_dir={str(folder)!r} holds a damaged set: {' '.join(str(error).split())}") from error
    if builder.name != name:
        raise ValueError(
            f"data_dir={str(folder)!r} is the set {builder.name!r}, not {name!r}: name that one, or another folder."
        )
    return builder


def _in_array_records(builder: tfds.core.DatasetBuilder, remedy: str) -> tfds.core.DatasetBuilder:
    wanted = tfds.core.FileFormat.ARRAY_RECORD
    if builder.info.file_format != wanted and wanted in builder.info.alternative_file_formats:
        builder = read_only_builder.ReadOnlyBuilder(builder.data_dir, file_format=wanted)
    if builder.info.file_format != wanted:
        raise ValueError(
            f"{builder.data_dir} holds {builder.info.file_format.value} files, which cannot be read at "
            f"random; expected array_record. {remedy}"
        )
    return builder


def image_and_label(builder: tfds.core.DatasetBuilder) -> tuple[str, str]:
    """Names of image and label among a set's features; ValueError unless it has uint8 images with one class each."""
    features = builder.info.features
    keys = builder.info.supervised_keys or ("image", "label")
    if len(keys) == 2 and set(keys) <= set(features):
        image, label = (features[key] for key in keys)
        pictures = len(image.shape) == 3 and image.shape[-1] in _MODES and image.np_dtype == np.uint8
        if pictures and isinstance(label, tfds.features.ClassLabel):
            return keys
    raise ValueError(
        f"dataset {builder.info.full_name!r} has the features {dict(features)}; "
        "expected a uint8 image of shape [H, W, 1, 3 or 4] and a class label"
    )


class Records:
    """The examples of a split, dicts of which the images in files (PNG, JPEG) are left undecoded.

    Reading raises ValueError where a file of the split is missing or damaged.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        image_key, _ = image_and_label(builder)
        encoded = isinstance(builder.info.features[image_key], tfds.features.Image)
        decoders = {image_key: tfds.decode.SkipDecoding()} if encoded else None
        self._what = f"the {split} part of {builder.info.full_name!r} in {builder.data_dir}"
        self._files = [Path(file) for file in builder.info.splits[split].filepaths]
        with self._reading():
            self._source = builder.as_data_source(split, decoders=decoders)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> dict:
        with self._reading():
            return self._source[row]

    def __iter__(self) -> Iterator[dict]:
        """All in order, read many at once, which is quicker than one by one."""
        for start in range(0, len(self), _CHUNK):
            with self._reading():
                chunk = self._source.__getitems__(range(start, min(start + _CHUNK, len(self))))
            yield from chunk

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, OSError) as error:
            missing = [file.name for file in self._files if not file.exists()]
            fault = f"{missing[0]} is missing" if missing else f"a file is damaged: {' '.join(str(error).split())}"
            raise ValueError(f"cannot read {self._what}: {fault}. Copy the set anew, or prepare it again.") from error


def open_image(image: bytes | np.ndarray, channels: int) -> Image.Image:
    """One image of `Records`; ValueError where it is damaged.

    PIL decodes it, so the pixels do not depend on what else is installed.
    """
    if isinstance(image, bytes):
        try:
            return Image.open(io.BytesIO(image)).convert(_MODES[channels])
        except OSError as error:
            raise ValueError(f"an image cannot be decoded, prepare the set again: {error}") from error
    return Image.fromarray(image[:, :, 0] if channels == 1 else image)


def evaluation_split(builder: tfds.core.DatasetBuilder) -> str:
    """`test`, or `validation` where there is no test part or one without labels (ImageNet).

    Raises ValueError if there is no train part, or neither of the two.
    """
    label_key = image_and_label(builder)[1]
    splits = builder.info.splits
    for name in ("test", "validation"):
        if name in splits and "train" in splits and Records(builder, name)[0][label_key] >= 0:
            return name
    raise ValueError(
        f"dataset {builder.info.full_name!r} has the splits {', '.join(sorted(splits))}; "
        "expected train, and test or validation with labels"
    )


def read_split(builder: tfds.core.DatasetBuilder, split: str) -> Split:
    """All images of a TFDS split in memory; raises ValueError if they differ in size or some are without label."""
    image_key, label_key = image_and_label(builder)
    shape = builder.info.features[image_key].shape
    if None in shape:
        raise ValueError(
            f"the images of {builder.info.full_name!r} differ in size (shape {shape}), so they cannot be "
            "held as one array; stream the set by data.streaming=True"
        )
    records = Records(builder, split)
    images = np.empty((len(records), *shape), np.uint8)
    labels = np.empty(len(records), np.int32)
    for row, example in enumerate(records):
        images[row] = np.asarray(open_image(example[image_key], shape[-1])).reshape(shape)
        labels[row] = example[label_key]
    check_labels(builder, split, labels)
    return Split(images, labels, np.arange(len(labels), dtype=np.int64))


def check_labels(builder: tfds.core.DatasetBuilder, split: str, labels: np.ndarray) -> None:
    """Raises ValueError for labels [N] of a split that are none of the set's classes."""
    total = builder.info.features[image_and_label(builder)[1]].num_classes
    what = f"the {split} part of {builder.info.full_name!r}"
    if labels.size and labels.min() < 0:
        raise ValueError(f"{what} has images without label")
    if labels.size and labels.max() >= total:
        raise ValueError(
            f"{what} has the label {labels.max()}, but {total} classes: labels go from 0 to {total - 1}. Prepare the "
            "set again with as many class names as it has classes."
        )


def keep_classes(builder: tfds.core.DatasetBuilder, classes: Sequence[int]) -> tuple[tuple[int, ...], np.ndarray]:
    """The labels of a set that are kept, all where `classes` is empty, and [K] int32, the new label of each or -1.

    Raises ValueError for a label that the set does not have, or that is named twice.
    """
    total = builder.info.features[image_and_label(builder)[1]].num_classes
    kept = tuple(classes) or tuple(range(total))
    if len(set(kept)) != len(kept) or not all(0 <= label < total for label in kept):
        raise ValueError(
            f"class_ids={kept}: expected different labels of {builder.info.full_name!r}, from 0 to {total - 1}."
        )
    new_label = np.full(total, -1, np.int32)
    new_label[list(kept)] = np.arange(len(kept))
    return kept, new_label


def _restrict(split: Split, new_label: np.ndarray) -> Split:
    labels = new_label[split.labels]
    rows = np.flatnonzero(labels >= 0)
    return Split(split.images[rows], labels[rows], split.ids[rows])


def _sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data)
    return digest.hexdigest()


def load_dataset(
    name: str, *, data_dir: str | Path | None = None, held_out: int, seed: int, train_count: int = 0,
    class_ids: Sequence[int] = (),
) -> Dataset:  # fmt: skip
    """Loads a TFDS image classification set and holds a part of its training images out.

    Args:
      name: any TFDS set prepared as array_record, or `digits`, which is prepared on first use.
      data_dir: see `open_builder`.
      held_out: training images to hold out for model choice, as many of every class.
      seed: the held-out images depend on the set, `held_out` and this alone.
      train_count: training images to keep of the others, as many of every class; 0 keeps all.
      class_ids: labels to keep, renumbered 0 … in this order; empty keeps all.

    Raises ValueError if the set is unknown, missing, damaged or of another kind, for a label that it does not have, or
    if a class would keep no training images.
    """
    builder = open_builder(name, data_dir)
    info = builder.info
    test_name = evaluation_split(builder)
    everything, test = read_split(builder, "train"), read_split(builder, test_name)
    label = info.features[image_and_label(builder)[1]]
    kept, new_label = keep_classes(builder, class_ids)
    if class_ids:
        everything, test = _restrict(everything, new_label), _restrict(test, new_label)
    try:
        held = balanced_rows(everything.labels, held_out, num_classes=len(kept), seed=seed)
    except ValueError as error:
        raise ValueError(f"held_out={held_out} of {len(everything)} images of {name!r}: {error}") from error
    validation = everything.take(held)
    train = everything.take(np.delete(np.arange(len(everything)), held)) if held_out else everything
    if train_count:
        try:
            train = train.take(balanced_rows(train.labels, train_count, num_classes=len(kept), seed=seed))
        except ValueError as error:
            raise ValueError(f"train_count={train_count} of {len(train)} images of {name!r}: {error}") from error
    return Dataset(
        name=name,
        version=str(info.version),
        num_classes=len(kept),
        class_names=tuple(label.names[each] for each in kept),
        image_shape=tuple(everything.images.shape[1:]),
        train=train,
        validation=validation,
        test=test,
        fingerprint={
            "name": info.full_name,
            "description": " ".join(info.description.split()),
            "counts": {"train": len(train), "validation": len(validation), "test": len(test)},
            "test_split": test_name,
            "held_out_ids_sha256": _sha256(validation.ids),
            "data_sha256": _sha256(everything.images, everything.labels, test.images, test.labels),
        },
    )
