"""Images and labels as NumPy arrays: an .npz file, two .npy files or a folder of them."""

from collections.abc import Iterator, Mapping, Sequence
import math
from pathlib import Path, PurePosixPath
import re
from typing import Any
import zipfile

import numpy as np

from rnas.data.sources.source import TEST, TRAIN, Example, Source, check_class_names, joined, known_parts, natural_order

IMAGES, LABELS = ("images", "image", "x", "data"), ("labels", "label", "y", "targets", "target")
LARGEST = 2**34  # bytes that the arrays of a file may take, unpacked
CLASSES = "class_names"
EXPECTED = (
    "expected images and labels, or the same with a part before it, as in train_images, train_labels, test_images and "
    "test_labels, or in x_train, y_train, x_test and y_test"
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK = 2**24  # elements looked at together


def npz_source(path: Path) -> Source:
    """Reads an .npz file of images and labels, perhaps with `class_names`.

    Raises ValueError where it is damaged, holds objects, or its arrays are of other names, shapes or types.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if odd := [each.filename for each in members if PurePosixPath(each.filename).name != each.filename]:
                raise ValueError(f"{path} holds a member named {odd[0]!r}; arrays of .npz files are in no folder.")
            if (total := sum(each.file_size for each in members)) > LARGEST:
                raise ValueError(f"{path} would unpack to {total:,} bytes; at most {LARGEST:,} are read.")
            # Of other methods zipfile unpacks a whole member, however large, before it looks at the declared size.
            if odd := [each.filename for each in members if each.compress_type not in _METHODS]:
                raise ValueError(f"{path} holds {odd[0]!r} neither stored nor deflated; NumPy writes no others.")
            for each in members:
                with archive.open(each) as stream:
                    _check_header(stream, each.file_size, f"{path}: {each.filename}")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except ValueError:
        raise
    except Exception as error:  # a damaged archive or header can raise almost anything
        raise ValueError(f"{path} is no readable .npz file: {error}.") from error
    return array_source(found, str(path), kind="NumPy arrays")


def npy_source(path: Path, labels: Path) -> Source:
    """Reads an .npy file of images and another one of their labels; raises ValueError as `npz_source`."""
    return array_source({"images": _read_npy(path), "labels": _read_npy(labels)}, str(path), kind="NumPy arrays")


def npy_folder_source(folder: Path) -> Source:
    """Reads the .npy files of a folder, named as the arrays of an .npz file; raises ValueError as `npz_source`."""
    arrays = {file.stem: _read_npy(file) for file in sorted(folder.glob("*.npy"))}
    return array_source(arrays, str(folder), kind="NumPy arrays")


def _read_npy(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as stream:
            _check_header(stream, path.stat().st_size, str(path))
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        raise
    except Exception as error:  # as above
        raise ValueError(f"{path} is no readable .npy file: {error}.") from error


def _check_header(stream: Any, size: int, where: str) -> None:
    """Refuses an array that claims to be larger than what its file holds: NumPy would reserve room for it first."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"{where} holds Python objects, which are not read: save it as numbers or texts.")
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{where} claims {list(shape)} of {dtype}, and the file has {size:,} bytes.")


def array_source(arrays: Mapping[str, np.ndarray], where: str, *, kind: str, as_published: bool = False) -> Source:
    """The source of named arrays.

    Args:
      arrays: images [N, H, W], [N, H, W, C] or [N, C, H, W] of bytes, truth values, or numbers in 0 … 255 or 0.0 … 1.0;
        labels [N] or [N, 1], whole numbers or texts; perhaps `class_names` [K], texts.
      where: they are, for messages.

    Raises ValueError where names, shapes, types or numbers are others.
    """
    arrays = dict(arrays)
    given = arrays.pop(CLASSES, None)
    by_part = _by_part(arrays, where)
    parts = known_parts(list(by_part), where)
    notes = list(joined(parts))
    images, labels = {}, {}
    for name, (pixels, numbers) in by_part.items():
        what = f"{where}, {name} part" if len(by_part) > 1 else where
        images[name] = _Pixels(pixels, what)
        labels[name] = _checked_labels(numbers, len(pixels), what)
        notes += images[name].notes
    trained = np.concatenate([labels[name] for name, part in parts.items() if part == TRAIN])
    values, names, note = _classes(trained, given, where)
    notes += note
    classes = {value: number for number, value in enumerate(values)}
    for name in by_part:
        if strange := sorted(set(labels[name].tolist()) - set(values)):
            raise ValueError(f"{where}: the {name} part has the label {strange[0]!r}, which the training part has not.")

    def examples() -> Iterator[Example]:
        for name, part in parts.items():
            for row, value in enumerate(labels[name].tolist()):
                yield Example(part, classes[value], images[name][row], f"{name} {row}")

    count = sum(map(len, labels.values()))
    return Source(kind, names, count, examples, TEST in parts.values(), tuple(dict.fromkeys(notes)), as_published)


def _by_part(arrays: dict[str, np.ndarray], where: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images and labels of each part, by the names of the arrays."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        words = [word for word in re.split(r"[_\-.\s]+", name.lower()) if word]
        kinds = [word for word in words if word in (*IMAGES, *LABELS)]
        part = "_".join(word for word in words if word not in (*IMAGES, *LABELS)) or TRAIN
        if len(kinds) != 1:
            raise ValueError(f"{where} holds an array {name!r}; {EXPECTED}.")
        own = found.setdefault(part, {})
        if (kind := "images" if kinds[0] in IMAGES else "labels") in own:
            raise ValueError(f"{where} holds two arrays of {kind} of the {part} part; {EXPECTED}.")
        own[kind] = array
    for part, own in found.items():
        if missing := {"images", "labels"} - own.keys():
            raise ValueError(f"{where} lacks the {missing.pop()} of the {part} part; {EXPECTED}.")
    if not found:
        raise ValueError(f"{where} holds no arrays; {EXPECTED}.")
    return {part: (own["images"], own["labels"]) for part, own in found.items()}


class _Pixels:
    """Images of an array as bytes, one by one."""

    def __init__(self, images: np.ndarray, where: str):
        self.notes: list[str] = []
        if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3, 4):
            images = np.moveaxis(images, 1, -1)
            self.notes.append(f"{where}: images {list(images.shape)} have their channels first; they were put last.")
        if images.ndim not in (3, 4) or images.ndim == 4 and images.shape[3] not in (1, 3, 4) or 0 in images.shape[1:]:
            raise ValueError(
                f"{where}: images are {list(images.shape)}; expected [N, H, W] or [N, H, W, C], C of 1, 3 or 4."
            )
        if not len(images):
            raise ValueError(f"{where} has no images.")
        self._images, self._factor = images, _factor(images, where)

    def __getitem__(self, row: int) -> np.ndarray:
        pixels = self._images[row]
        return pixels if pixels.dtype == np.uint8 else np.rint(pixels * self._factor).astype(np.uint8)


def _factor(images: np.ndarray, where: str) -> float:
    """What makes bytes of the numbers of images; ValueError where they are neither in 0 … 255 nor in 0.0 … 1.0."""
    if images.dtype == np.bool_:
        return 255.0
    if images.dtype.kind not in "iuf":
        raise ValueError(f"{where}: images are of type {images.dtype}; expected bytes, or numbers.")
    rows = max(1, _CHUNK // max(1, math.prod(images.shape[1:])))
    low, high, whole = math.inf, -math.inf, True
    for first in range(0, len(images), rows):
        chunk = np.asarray(images[first : first + rows])
        if images.dtype.kind == "f":
            if not np.isfinite(chunk).all():
                raise ValueError(f"{where}: images hold NaN or an infinity.")
            whole = whole and bool((chunk == np.rint(chunk)).all())
        low, high = min(low, chunk.min()), max(high, chunk.max())
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return 255.0
    if low >= 0 and 1 < high <= 255 and whole:
        return 1.0
    remedy = "multiply them by 255" if (low, high) == (0, 1) else "undo whatever has normalised them"
    raise ValueError(
        f"{where}: images of type {images.dtype} go from {low:g} to {high:g}; expected whole numbers in 0 … 255 or "
        f"fractions in 0.0 … 1.0: {remedy}."
    )


def _checked_labels(labels: np.ndarray, count: int, where: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != count:
        hint = " One-hot labels become numbers by argmax(axis=1)." if labels.ndim == 2 else ""
        raise ValueError(f"{where}: labels are {list(labels.shape)}; expected [{count}], one an image.{hint}")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    if labels.dtype.kind not in "iuU":
        raise ValueError(f"{where}: labels are of type {labels.dtype}; expected whole numbers or texts.")
    if labels.dtype.kind in "iu" and len(labels) and labels.min() < 0:
        raise ValueError(f"{where} has the label {labels.min()}; expected 0 or more: leave images without label out.")
    return labels


def _classes(labels: np.ndarray, given: Any, where: str) -> tuple[list, tuple[str, ...], list[str]]:
    """The labels that there are, in the order of their classes, the names of those, and how they were found."""
    values = np.unique(labels).tolist()
    if labels.dtype.kind == "U":
        values = natural_order(values)
        return values, check_class_names(values, where), []
    if given is not None:
        given = np.asarray(given)
        if given.ndim != 1 or given.dtype.kind not in "US" or values[-1] >= len(given):
            raise ValueError(
                f"{where}: {CLASSES} is {given.dtype} {list(given.shape)}, expected a text for each label from 0 to "
                f"{values[-1]}."
            )
        texts: Sequence[str] = [each.decode() if isinstance(each, bytes) else str(each) for each in given.tolist()]
        names = check_class_names([texts[value] for value in values], where)
    else:
        names = check_class_names([str(value) for value in values], where)
    if values == list(range(len(values))):
        return values, names, []
    shown = ", ".join(map(str, values[:5])) + (" …" if len(values) > 5 else "")
    return values, names, [f"The labels {shown} are renumbered 0 to {len(values) - 1}."]
