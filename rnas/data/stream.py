"""Image sets too large for memory (ImageNet): read, decoded and cropped on the host, ahead of the step.

Batches are a function of (seed, step): neither the number of hosts, nor of threads, nor an interruption
changes which images a step sees and how they are cropped.
"""

from collections.abc import Callable, Sequence
import hashlib
from pathlib import Path
from typing import Any

import grain
import numpy as np
from PIL import Image

from rnas.artifacts.files import replaced
from rnas.data.balance import balanced_rows
from rnas.data.datasets import (
    Dataset,
    Split,
    cache_folder,
    evaluation_split,
    image_and_label,
    iterate,
    open_builder,
    open_image,
    open_records,
)
from rnas.data.sampler import Sampler, check_seed

PARTS = ("train", "validation", "test")

# Distinguishes the crops of a seed from the permutations of a `Sampler` with the same seed.
_CROP_WORD = 2**63


def random_resized_crop(
    image: Image.Image,
    size: int,
    generator: np.random.Generator,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Image.Image:
    """A random box of the image at size × size (Szegedy et al. 2014, arXiv 1409.4842, section 6).

    The box has a share of the image's area uniform in `area` and a ratio of width to height whose logarithm
    is uniform in that of `ratio`. When ten draws do not fit into the image, the largest central box of an
    allowed ratio is taken.
    """
    width, height = image.size
    for _ in range(10):
        box_area = width * height * (area[0] + (area[1] - area[0]) * generator.random())
        box_ratio = ratio[0] * (ratio[1] / ratio[0]) ** generator.random()
        w, h = round((box_area * box_ratio) ** 0.5), round((box_area / box_ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left = int((width - w + 1) * generator.random())
            top = int((height - h + 1) * generator.random())
            break
    else:
        w = min(width, round(height * ratio[1]))
        h = min(height, round(width / ratio[0]))
        left, top = (width - w) // 2, (height - h) // 2
    return image.crop((left, top, left + w, top + h)).resize((size, size), Image.Resampling.BILINEAR)


def resize_and_center_crop(image: Image.Image, resize: int | None, size: int) -> Image.Image:
    """The central size × size pixels after the shorter side was brought to `resize` pixels.

    None leaves the image as it is; what the crop then has beyond it is black.
    """
    width, height = image.size
    if resize is not None:
        scale = resize / min(width, height)
        width, height = max(resize, int(width * scale)), max(resize, int(height * scale))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def read_labels(builder, split: str) -> np.ndarray:
    """The labels of a whole TFDS split, [N] int32: read once, then kept in `cache_folder()`."""
    info = builder.info.splits[split]
    identity = f"{builder.info.full_name} {split} {info.shard_lengths} {info.num_bytes}"
    path = cache_folder() / "labels" / f"{hashlib.sha256(identity.encode()).hexdigest()}.npy"
    if path.exists():
        return np.load(path)
    label_key = image_and_label(builder)[1]
    labels = np.array([example[label_key] for example in iterate(open_records(builder, split))], np.int32)
    with replaced(path) as temporary, open(temporary, "xb") as file:
        np.save(file, labels)
    return labels


class Stream:
    """One part of a TFDS image set as an endless (train) or single (validation, test) series of batches.

    Training images get a random resized crop and a random mirror; the others are resized and cropped in the
    centre. A training batch is `{"image": uint8 [B, S, S, C], "label": int32 [B]}`; a batch of another part
    also has `"mask": bool [B]`, false where the last batch was filled up, and every host gets the same
    number of batches. B is batch_size / process_count.

    Args:
      name: TFDS set in array_record format, such as `imagenet2012`.
      data_dir: its TFDS folder, see `rnas.data.datasets.open_builder`.
      part: `train`, `validation` or `test`. The published training part is cut in two by `held_out`; `test`
        is the published test part, or validation part where there is no other.
      batch_size: images in a batch over all hosts.
      seed: of the held-out choice, the order and the crops.
      image_size: S, pixels a side.
      resize: the shorter side of evaluation images before the crop, in pixels; None crops them as they are.
      classes: labels to keep, renumbered 0 … in the order given; None keeps all.
      held_out: images of the training part kept for validation, as many of every class.
      process_index: this host's number.
      process_count: number of hosts.

    Attributes:
      num_classes: number of labels.
      steps_per_epoch: batches in an epoch; training drops what does not fill a batch.

    Raises:
      ValueError: if the set is missing or of another kind, or an argument is out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        data_dir: str | Path | None = None,
        part: str,
        batch_size: int,
        seed: int,
        image_size: int = 224,
        resize: int | None = 256,
        classes: Sequence[int] | None = None,
        held_out: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ):
        if part not in PARTS:
            raise ValueError(f"part={part!r}: expected one of {', '.join(PARTS)}")
        if not 0 < image_size <= (resize or image_size):
            raise ValueError(f"image_size={image_size}, resize={resize}: expected 0 < image_size <= resize")
        if batch_size < 1 or batch_size % process_count:
            raise ValueError(f"batch_size={batch_size}: expected a multiple of the {process_count} hosts")
        if not 0 <= process_index < process_count:
            raise ValueError(f"process_index={process_index}: expected 0 … {process_count - 1}")
        check_seed(seed)
        builder = open_builder(name, data_dir)
        split = evaluation_split(builder) if part == "test" else "train"
        self._image_key, self._label_key = image_and_label(builder)
        self._channels = builder.info.features[self._image_key].shape[-1]
        self._records = open_records(builder, split)
        total = builder.info.features[self._label_key].num_classes

        kept = tuple(range(total)) if classes is None else tuple(classes)
        if len(set(kept)) != len(kept) or not kept or not all(0 <= label < total for label in kept):
            raise ValueError(f"classes={classes}: expected different labels of {name!r}, 0 … {total - 1}")
        self.num_classes = len(kept)
        self._new_label = np.full(total, -1, np.int32)
        self._new_label[list(kept)] = np.arange(len(kept))

        rows = np.arange(len(self._records))
        if classes is not None or (held_out and part != "test"):
            labels = self._new_label[read_labels(builder, split)]
            rows, labels = rows[labels >= 0], labels[labels >= 0]
            if part != "test":
                held = balanced_rows(labels, held_out, num_classes=len(kept), seed=seed)
                rows = rows[held] if part == "validation" else np.delete(rows, held)
        elif part == "validation":
            rows = rows[:0]
        self.rows = rows

        self.part = part
        self.version = str(builder.info.version)
        names = builder.info.features[self._label_key].names
        self.class_names = tuple(names[label] for label in kept)
        self.batch_size = batch_size
        self.seed = seed
        self.image_size = image_size
        self.resize = resize
        self._local = batch_size // process_count
        self._offset = process_index * self._local
        self._sampler = Sampler(rows, batch_size, seed) if part == "train" else None
        self.steps_per_epoch = self._sampler.steps_per_epoch if self._sampler else -(-len(rows) // batch_size)

    def batches(self, first_step: int = 0, *, threads: int = 16) -> "Batches":
        """The batches from `first_step` on, two of them prepared ahead by threads."""
        return Batches(self, first_step, threads)

    def example(self, step: int, place: int) -> dict[str, np.ndarray | np.generic]:
        """What stands at one place (0 … B - 1) of this host's batch of a step."""
        position = step * self.batch_size + self._offset + place
        if self._sampler is not None:
            row = self._sampler.rows_at(step, 1)[0, self._offset + place]
            key = np.array([self.seed, _CROP_WORD + position], np.uint64)
            return self._read(row, np.random.Generator(np.random.Philox(key=key)))
        if position < len(self.rows):
            return {**self._read(self.rows[position], None), "mask": np.True_}
        blank = np.zeros((self.image_size, self.image_size, self._channels), np.uint8)
        return {"image": blank, "label": np.int32(0), "mask": np.False_}

    def _read(self, row: int, generator: np.random.Generator | None) -> dict[str, np.ndarray | np.generic]:
        record = self._records[int(row)]
        image = open_image(record[self._image_key], self._channels)
        if generator is None:
            pixels = np.asarray(resize_and_center_crop(image, self.resize, self.image_size))
        else:
            pixels = np.asarray(random_resized_crop(image, self.image_size, generator))
            if generator.random() < 0.5:
                pixels = pixels[:, ::-1]
        shape = (self.image_size, self.image_size, self._channels)
        return {"image": pixels.reshape(shape), "label": self._new_label[record[self._label_key]]}


class _Examples:
    """The examples of a stream from one step on, as the random access source that grain reads."""

    def __init__(self, stream: Stream, first_step: int):
        self._stream = stream
        self._first_step = first_step

    def __len__(self) -> int:
        if self._stream.part == "train":
            return 2**62  # in effect endless
        return max(0, self._stream.steps_per_epoch - self._first_step) * self._stream._local

    def __getitem__(self, index: int) -> dict[str, np.ndarray | np.generic]:
        step, place = divmod(int(index), self._stream._local)
        return self._stream.example(self._first_step + step, place)


class Batches:
    """Iterator over the batches of a `Stream`; its state is the number of the next step."""

    def __init__(self, stream: Stream, first_step: int, threads: int):
        self._stream = stream
        self._threads = threads
        self._iterator: Any = None
        self.set_state({"step": first_step})

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            self._iterator = self._start()
        batch = next(self._iterator)
        self._step += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """A dict for a JSON checkpoint, the same on all hosts."""
        return {"step": self._step}

    def set_state(self, state: dict[str, int]) -> None:
        """Continues with the step that `get_state` named.

        Raises:
          ValueError: if the state names no step.
        """
        step = state.get("step")
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"state={state!r}: expected {{'step': n}} with n = 0, 1, …")
        self.close()
        self._step = step

    def close(self) -> None:
        """Stops the threads that read ahead."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def _start(self):
        local = self._stream._local
        ahead = max(2 * local, self._threads)
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=ahead)
        examples = grain.MapDataset.source(_Examples(self._stream, self._step))
        return iter(examples.to_iter_dataset(options).batch(local))


def load_held_parts(name: str, open_part: Callable[[str], Stream]) -> Dataset:
    """Validation and test images in memory, as a `Dataset` whose training part stays on disk.

    Args:
      name: of the set, for the record.
      open_part: part → its `Stream`; every host opens the whole of it.

    Returns:
      A `Dataset` with an empty `train`; `fingerprint['counts']['train']` is its size. Images themselves
      are not hashed.
    """
    parts = {part: open_part(part) for part in PARTS}

    def read(part: Stream) -> Split:
        shape = (part.image_size, part.image_size, part._channels)
        images, labels = np.empty((len(part.rows), *shape), np.uint8), np.empty(len(part.rows), np.int32)
        for place in range(len(part.rows)):
            example = part._read(part.rows[place], None)
            images[place], labels[place] = example["image"], example["label"]
        return Split(images, labels, np.asarray(part.rows, np.int64))

    train, validation, test = parts["train"], read(parts["validation"]), read(parts["test"])
    shape = validation.images.shape[1:]
    nothing = Split(np.empty((0, *shape), np.uint8), np.empty(0, np.int32), np.empty(0, np.int64))
    return Dataset(
        name=name,
        version=train.version,
        num_classes=train.num_classes,
        class_names=train.class_names,
        image_shape=tuple(shape),
        train=nothing,
        validation=validation,
        test=test,
        fingerprint={
            "name": f"{name}:{train.version}",
            "counts": {"train": len(train.rows), "validation": len(validation), "test": len(test)},
            "held_out_ids_sha256": hashlib.sha256(validation.ids.astype("<i8").tobytes()).hexdigest(),
        },
    )
