"""Image sets too large for memory (ImageNet): read, decoded and cropped on the host, ahead of the step.

Batches are a function of (seed, step): neither the number of hosts, nor of threads, nor an interruption
changes which images a step sees and how they are cropped.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import hashlib
from pathlib import Path

import grain
import numpy as np
from PIL import Image

from rnas.artifacts.files import read_arrays, write_arrays
from rnas.data.balance import balanced_rows
from rnas.data.datasets import (
    Dataset,
    Records,
    Split,
    cache_folder,
    check_labels,
    evaluation_split,
    image_and_label,
    keep_classes,
    open_builder,
    open_image,
)
from rnas.data.sampler import Sampler, check_seed

PARTS = ("train", "validation", "test")
_CROP_WORD = 2**63  # distinguishes the crops of a seed from the permutations of a `Sampler` with the same seed


def random_resized_crop(image: Image.Image, size: int, generator: np.random.Generator) -> Image.Image:
    """A random box of the image at size × size (Szegedy et al. 2014, arXiv 1409.4842, section 6).

    The box has a share of the image's area uniform in 0.08 … 1 and a ratio of width to height whose logarithm is
    uniform between those of 3/4 and 4/3. When ten draws do not fit into the image, the largest central box of an
    allowed ratio is taken.
    """
    area, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
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
    path = cache_folder() / "labels" / f"{hashlib.sha256(identity.encode()).hexdigest()}.npz"
    with contextlib.suppress(ValueError):  # missing, or damaged: read again
        return read_arrays(path, ["labels"])["labels"]
    label_key = image_and_label(builder)[1]
    labels = np.array([example[label_key] for example in Records(builder, split)], np.int32)
    check_labels(builder, split, labels)
    write_arrays(path, {"labels": labels})
    return labels


class Stream:
    """One part of a TFDS image set: an endless series of training batches, or images one by one.

    Training images get a random resized crop and a random mirror; `read` resizes and crops in the centre.

    Args:
      name, data_dir: see `rnas.data.datasets.open_builder`.
      part: `train`, `validation` or `test`. The published training part is cut in two by `held_out`; `test`
        is the published test part, or validation part where there is no other.
      batch_size: images in a training batch over all hosts.
      seed: of the held-out choice, the order and the crops.
      image_size: S, pixels a side.
      resize: the shorter side of evaluation images before the crop, in pixels; None crops them as they are.
      class_ids: labels to keep, renumbered 0 … in the order given; empty keeps all.
      held_out: images of the training part kept for validation, as many of every class.
      train_count: images of the training part to keep of the others, as many of every class; 0 keeps all.
      process_index, process_count: this host's number, and that of all hosts.

    Its `rows` [N] are those of the part among the records of its TFDS split.

    Raises ValueError if the set is missing or of another kind, or an argument is out of range.
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
        class_ids: Sequence[int] = (),
        held_out: int = 0,
        train_count: int = 0,
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
        self._records = Records(builder, split)

        kept, self._new_label = keep_classes(builder, class_ids)
        self.num_classes = len(kept)

        rows = np.arange(len(self._records))
        if class_ids or ((held_out or train_count) and part != "test"):
            labels = self._new_label[read_labels(builder, split)]
            rows, labels = rows[labels >= 0], labels[labels >= 0]
            if part != "test":
                held = balanced_rows(labels, held_out, num_classes=len(kept), seed=seed)
                if part == "validation":
                    rows = rows[held]
                else:
                    rows, labels = np.delete(rows, held), np.delete(labels, held)
                    if train_count:
                        rows = rows[balanced_rows(labels, train_count, num_classes=len(kept), seed=seed)]
        elif part == "validation":
            rows = rows[:0]
        self.rows = rows

        names = builder.info.features[self._label_key].names
        self.class_names = tuple(names[label] for label in kept)
        self.version = str(builder.info.version)
        self.image_shape = (image_size, image_size, self._channels)
        self.seed = seed
        self.resize = resize
        self._local = batch_size // process_count
        self._offset = process_index * self._local
        self._sampler = Sampler(rows, batch_size, seed) if part == "train" else None

    def batches(self, first_step: int = 0, *, threads: int = 16) -> Iterator[dict[str, np.ndarray]]:
        """This host's share of the training batches from a step on, two of them prepared ahead by threads.

        B is batch_size / process_count. The iterator is grain's: `close()` stops its threads.

        Returns:
          iterator of {"image": uint8 [B, S, S, C], "label": int32 [B]}.
        """
        local = self._local
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2 * local, threads))
        places = grain.MapDataset.range(first_step * local, 2**62)  # in effect endless
        examples = places.map(lambda place: self.example(*divmod(int(place), local)))
        return iter(examples.to_iter_dataset(options).batch(local))

    def example(self, step: int, place: int) -> dict[str, np.ndarray | np.generic]:
        """What stands at one place (0 … B - 1) of this host's training batch of a step."""
        assert self._sampler is not None, "only the training part has batches"
        place += self._offset
        row = self._sampler.rows_at(step, 1)[0, place]
        key = np.array([self.seed, _CROP_WORD + step * self._sampler.batch_size + place], np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        image, label = self._open(row)
        pixels = np.asarray(random_resized_crop(image, self.image_shape[0], generator))
        if generator.random() < 0.5:
            pixels = pixels[:, ::-1]
        return {"image": pixels.reshape(self.image_shape), "label": label}

    def read(self, rows: np.ndarray) -> Split:
        """Images at some of `rows`, cropped in the centre, in memory."""
        images, labels = np.empty((len(rows), *self.image_shape), np.uint8), np.empty(len(rows), np.int32)
        for place, row in enumerate(rows):
            image, labels[place] = self._open(row)
            cropped = resize_and_center_crop(image, self.resize, self.image_shape[0])
            images[place] = np.asarray(cropped).reshape(self.image_shape)
        return Split(images, labels, np.asarray(rows, np.int64))

    def _open(self, row: int) -> tuple[Image.Image, np.int32]:
        record = self._records[int(row)]
        if not 0 <= (label := record[self._label_key]) < len(self._new_label):
            raise ValueError(f"record {row} has the label {label}: expected 0 to {len(self._new_label) - 1}.")
        return open_image(record[self._image_key], self._channels), self._new_label[label]


def load_held_parts(name: str, open_part: Callable[[str], Stream]) -> Dataset:
    """Validation and test images in memory, as a `Dataset` whose training part stays on disk.

    `train` is empty; `fingerprint['counts']['train']` is its size. Images are not hashed. `open_part` opens the
    `Stream` of a part, the whole of it on every host.
    """
    parts = {part: open_part(part) for part in PARTS}
    validation, test = (parts[part].read(parts[part].rows) for part in ("validation", "test"))
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
            "held_out_ids_sha256": hashlib.sha256(validation.ids.astype("<i8").tobytes()).hexdigest(),
        },
    )
