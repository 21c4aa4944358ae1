"""Pictures of a user's own made a set: read, brought to one size, split, written, and described."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
import dataclasses
import hashlib
import itertools
import os
from pathlib import Path
import re
import tempfile
from typing import IO, Any, NamedTuple
import unicodedata

import numpy as np
import tensorflow_datasets as tfds

from rnas.artifacts.image_set import FILE, ImageSet, Import
from rnas.data.balance import stratified_rows
from rnas.data.pictures import Look, as_png, look, pixels_of
from rnas.data.sources import Source
from rnas.data.sources.source import TEST, TRAIN, Example
from rnas.data.writer import write_set

SIZE = 64  # pixels a side where the pictures differ in size, or are larger
LARGEST = 2**14  # pixels a side that can be asked for
SHARE = 0.2  # of the images of each class that become the test part where there is none
LEAST = 2  # training images of a class: one to hold out, one to train on
VERSION = "1.0.0"
_CHUNK = 256  # pictures decoded side by side

Track = Callable[[Iterable, str, int], Iterable]  # (items, what is done with them, how many) → the items, watched


class _Image(NamedTuple):
    """What is known of an image of the set; its pixels lie in a file, as the content of a PNG file."""

    name: str  # of the example
    part: str
    label: int
    start: int  # in the file, bytes
    length: int
    digest: bytes  # SHA-256 of the pixels
    means: np.ndarray  # [2, C], of the pixels in [0, 1] and of their squares


@dataclasses.dataclass
class _Reading:
    """What has been read of a source."""

    shape: tuple[int, int, int]  # [H, W, C] of every image
    images: list[_Image]  # in the order of the source
    notes: list[str]  # what was done to them
    left_out: list[str]  # pictures that could not be read, each with the reason


def _unwatched(items: Iterable, what: str, count: int) -> Iterable:
    return items


def import_images(
    source: Source,
    output: str | Path,
    *,
    given: str = "",
    size: int | None = None,
    share: float | None = None,
    seed: int = 0,
    track: Track = _unwatched,
) -> ImageSet:
    """Writes a source as a TFDS set of array_record files with `image_set.json`, all of it or nothing.

    What is no picture, or a damaged one, is left out. Images are grey where all are, else RGB. Where the source has no
    test part, a share of each class becomes one. A training image that equals a test image is left out, but of a set
    as it was published, so that its figures stay comparable.

    Args:
      source: see `rnas.data.sources.open_source`.
      output: the folder to make; the set is called after it.
      given: what the user called the source.
      size: pixels a side; None keeps the size that all pictures have, if that is at most 64, and is 64 otherwise.
      share: of the test part, where the source has none; None is a fifth.
      seed: of the choice of the test part.
      track: shows how far it has come.

    Raises ValueError where there is something at `output`, no picture can be read, a class has too few images, or the
    source has a test part although a share is given; OSError where the folder cannot be written.
    """
    output = Path(output).absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"there is something at {output} already; name another --output, or remove it.")
    if share is not None and source.has_test:
        raise ValueError(f"--split={share:g}: the source has a test part of its own, which is taken.")
    if not 0 < (share := SHARE if share is None else share) < 1:
        raise ValueError(f"--split={share:g}: expected a share between 0 and 1, such as {SHARE}.")
    if size is not None and not 1 <= size <= LARGEST:
        raise ValueError(f"--size={size}: expected 1 to {LARGEST} pixels a side.")
    beside = next(folder for folder in output.parents if folder.exists())
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", suffix=".tmp", dir=beside) as temporary:
        with tempfile.TemporaryFile(dir=temporary) as file:
            read = _read(source, size, file, track)
            test, how = _choose_test(source, read, share, seed)
            train, equal, twice = _apart(source, read.images, test)
            counts = {TRAIN: _counts(source, train), TEST: _counts(source, test)}
            _check_counts(source, counts[TRAIN], LEAST, "that do not equal a test image", read.left_out)
            mean, std = _statistics(train)
            made = ImageSet(
                name=_set_name(output.name),
                image_shape=read.shape,
                class_names=source.class_names,
                counts=counts,
                mean=mean,
                std=std,
                checksum=_checksum({TRAIN: train, TEST: test}),
                origin=Import(
                    given, source.kind, (*source.notes, *read.notes, how), (*read.left_out, *equal), tuple(twice)
                ),
            )
            folder = write_set(
                temporary,
                made.name,
                version=VERSION,
                description=f"{source.kind}: {len(train) + len(test)} images of {len(source.class_names)} classes.",
                features={
                    "image": tfds.features.Image(shape=read.shape, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=source.class_names),
                    "source": tfds.features.Text(),  # where it stands in what was imported
                },
                parts={
                    TRAIN: _examples(track(train, "writing the training part", len(train)), file),
                    TEST: _examples(track(test, "writing the test part", len(test)), file),
                },
            )
        made.write(folder / FILE)
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.exists():
            output.rmdir()  # empty, as was seen above
        os.rename(folder, output)
    return made


def _examples(images: Iterable[_Image], file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Images as `write_set` takes them."""
    for number, image in enumerate(images):
        file.seek(image.start)
        yield number, {"image": file.read(image.length), "label": image.label, "source": image.name}


# -- reading ---------------------------------------------------------------------------------------------


def _read(source: Source, size: int | None, file: IO[bytes], track: Track) -> _Reading:
    """Reads all pictures that can be read, twice: their heads for the shape that all get, then their pixels."""
    looks: list[Look | None] = []  # by the example's number
    left_out = []
    for example in track(source.examples(), "looking", source.count):
        try:
            looks.append(look(example.picture))
        except ValueError as error:
            looks.append(None)
            left_out.append(f"{example.name}: {error}")
    if not (seen := [each for each in looks if each]):
        reasons = f", such as {'; '.join(left_out[:3])}" if left_out else ""
        raise ValueError(f"this {source.kind} holds no picture that can be read{reasons}.")
    shape, notes = _common_shape(seen, size)

    def decode(example: Example) -> tuple[bytes, bytes, np.ndarray] | str:
        try:
            pixels = pixels_of(example.picture, shape)
        except ValueError as error:
            return f"{example.name}: {error}"
        values = pixels.reshape(-1, shape[2]) / 255
        means = np.stack([values.mean(0), np.square(values).mean(0)])
        return as_png(pixels), hashlib.sha256(pixels.tobytes()).digest(), means

    images, start = [], 0
    good = (example for example, seen in zip(source.examples(), looks, strict=True) if seen)
    watched = iter(track(good, "reading", len(seen)))
    with ThreadPoolExecutor() as pool:
        while chunk := list(itertools.islice(watched, _CHUNK)):
            for (part, label, _, name), found in zip(chunk, pool.map(decode, chunk), strict=True):
                if isinstance(found, str):
                    left_out.append(found)
                    continue
                png, digest, means = found
                images.append(_Image(name, part, label, start, len(png), digest, means))
                start += file.write(png)
    return _Reading(shape, images, notes, left_out)


def _common_shape(looks: Sequence[Look], size: int | None) -> tuple[tuple[int, int, int], list[str]]:
    """The shape [H, W, C] that all images get, and notes about what that changes."""
    sizes = sorted({(each.height, each.width) for each in looks}, key=lambda pair: (pair[0] * pair[1], pair))
    if size is None and len(sizes) == 1 and max(sizes[0]) <= SIZE:
        height, width = sizes[0]
    else:
        height = width = SIZE if size is None else size
    notes = []
    if changed := sum((each.height, each.width) != (height, width) for each in looks):
        first, last = (f"{w}×{h}" for h, w in (sizes[0], sizes[-1]))
        span = f"{first} to {last}" if len(sizes) > 1 else first
        notes.append(
            f"{changed:,} images of {span} pixels were resized to {width}×{height}: the longer side fills it, the rest "
            "is black."
        )
    grey = sum(each.grey for each in looks)
    if 0 < grey < len(looks):
        notes.append(f"{grey:,} grey images became RGB, as the others are.")
    return (height, width, 1 if grey == len(looks) else 3), notes


# -- choosing --------------------------------------------------------------------------------------------


def _counts(source: Source, images: Sequence[_Image]) -> tuple[int, ...]:
    labels = np.array([image.label for image in images], int)
    return tuple(np.bincount(labels, minlength=len(source.class_names)).tolist())


def _check_counts(source: Source, counts: Sequence[int], least: int, which: str, left_out: Sequence[str]) -> None:
    """Refuses classes with too few images."""
    if scarce := [f"{name} ({n})" for name, n in zip(source.class_names, counts, strict=True) if n < least]:
        shown = ", ".join(scarce[:10]) + (f" and {len(scarce) - 10} more" if len(scarce) > 10 else "")
        lost = f" {len(left_out)} pictures could not be read, such as {left_out[0]}." if left_out else ""
        raise ValueError(
            f"classes with fewer than {least} images {which}: {shown}. Add images, or leave these classes out.{lost}"
        )


def _choose_test(source: Source, read: _Reading, share: float, seed: int) -> tuple[list[_Image], str]:
    """The test part, and a note on how it was chosen; ValueError where a class has too few images for it."""
    train = [image for image in read.images if image.part == TRAIN]
    if source.has_test:
        _check_counts(source, _counts(source, train), LEAST, "to train and to hold out", read.left_out)
        return [image for image in read.images if image.part == TEST], "The test part is the source's own."
    _check_counts(source, _counts(source, train), LEAST + 1, "to train, to hold out and to test", read.left_out)
    labels = np.array([image.label for image in train])
    rows = stratified_rows(labels, share, num_classes=len(source.class_names), left=LEAST, seed=seed)
    return [train[row] for row in rows], f"The test part is a share of {share:g} of each class, chosen by seed {seed}."


def _apart(
    source: Source, images: Sequence[_Image], test: Sequence[_Image]
) -> tuple[list[_Image], list[str], list[str]]:
    """The training part, what was left out of it for equalling a test image, and what is there twice all the same."""
    train, equal, twice = [], [], []
    names = {image.name for image in test}
    first: dict[bytes, _Image] = {}
    for image in [*test, *(image for image in images if image.name not in names)]:
        same = first.setdefault(image.digest, image)
        across = image.name not in names and same.name in names
        said = f"{image.name}: equals {same.name}{' of the test part' if across else ''}"
        if across and not source.as_published:
            equal.append(said)
            continue
        if image.name not in names:
            train.append(image)
        if same is not image:
            twice.append(f"{said}{', in another class' if same.label != image.label else ''}")
    return train, equal, twice


# -- describing ------------------------------------------------------------------------------------------


def _statistics(images: Sequence[_Image]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of the images, in [0, 1]."""
    mean, square = np.mean([image.means for image in images], axis=0)
    std = np.sqrt(np.maximum(square - np.square(mean), 0))
    if std.min() < 1e-6:
        raise ValueError(f"a channel of the training images is one colour throughout (mean {mean.tolist()}).")
    return tuple(mean.round(6).tolist()), tuple(std.round(6).tolist())


def _checksum(parts: dict[str, list[_Image]]) -> str:
    lines = [f"{part} {image.label} {image.digest.hex()}\n" for part, images in parts.items() for image in images]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _set_name(text: str) -> str:
    """A name that TFDS takes, like the text: Äpfel & Birnen → apfel_birnen."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return name if name[:1].isalpha() else f"set_{name}".strip("_")
