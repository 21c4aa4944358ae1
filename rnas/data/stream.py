"""Image sets too large for memory (ImageNet): read, decoded and cropped on the host, ahead of the step.

Batches are a function of (seed, step): neither the number of hosts, nor of threads, nor an interruption
changes which images a step sees and how they are cropped.
"""

from collections.abc import Iterator, Sequence
import contextlib
import hashlib
from pathlib import Path

from absl import flags
import grain
import numpy as np
from PIL import Image

from rnas.artifacts.files import read_arrays, write_arrays
from rnas.attacks.batching import cores
from rnas.data.balance import balanced_rows
from rnas.data.datasets import (
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


def _identity(builder, split: str) -> str:
    """What distinguishes the records of a split from those of any other."""
    info = builder.info.splits[split]
    return f"{builder.info.full_name} {split} {info.shard_lengths} {info.num_bytes}"


def read_labels(builder, split: str) -> np.ndarray:
    """The labels of a whole TFDS split, [N] int32: read once, then kept in `cache_folder()`."""
    identity = _identity(builder, split)
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
        # What `held` answers for a row depends on this alone.
        self.identity = f"{_identity(builder, split)} {image_size} {resize} {tuple(class_ids)}"

        names = builder.info.features[self._label_key].names
        self.class_names = tuple(names[label] for label in kept)
        self.version = str(builder.info.version)
        self.image_shape = (image_size, image_size, self._channels)
        self.seed = seed
        self.resize = resize
        self._local = batch_size // process_count
        self._offset = process_index * self._local
        self._sampler = Sampler(rows, batch_size, seed) if part == "train" else None

    def batches(self, first_step: int = 0, *, workers: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """This host's share of the training batches from a step on, two of them prepared ahead.

        B is batch_size / process_count. The iterator is grain's: `close()` stops its threads and processes.

        Args:
          workers: processes that decode, two batches each ahead; 0: a thread for every core, in this process.

        Returns:
          iterator of {"image": uint8 [B, S, S, C], "label": int32 [B]}.
        """
        if workers:
            if not flags.FLAGS.is_parsed():  # grain reads its own from absl, which this program does not start
                flags.FLAGS.mark_as_parsed()
            # Of what is mapped every worker has each n-th: here whole batches.
            options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
            ahead = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
            batches = grain.MapDataset.range(first_step, 2**62).map(self._batch).to_iter_dataset(options)
            return iter(batches.mp_prefetch(ahead))
        local, threads = self._local, cores()
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2 * local, threads))
        places = grain.MapDataset.range(first_step * local, 2**62)  # in effect endless
        examples = places.map(lambda place: self.example(*divmod(int(place), local)))
        return iter(examples.to_iter_dataset(options).batch(local))

    def _batch(self, step: int) -> dict[str, np.ndarray]:
        """This host's share of the batch of a step."""
        examples = [self.example(int(step), place) for place in range(self._local)]
        return {name: np.stack([example[name] for example in examples]) for name in ("image", "label")}

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
            images[place], labels[place] = self.held(row)
        return Split(images, labels, np.asarray(rows, np.int64))

    def held(self, row: int) -> tuple[np.ndarray, np.int32]:
        """The image [S, S, C] at one of `rows`, cropped in the centre, and its label; any threads may call it."""
        image, label = self._open(row)
        cropped = resize_and_center_crop(image, self.resize, self.image_shape[0])
        return np.asarray(cropped).reshape(self.image_shape), label

    def _open(self, row: int) -> tuple[Image.Image, np.int32]:
        record = self._records[int(row)]
        if not 0 <= (label := record[self._label_key]) < len(self._new_label):
            raise ValueError(f"record {row} has the label {label}: expected 0 to {len(self._new_label) - 1}.")
        return open_image(record[self._image_key], self._channels), self._new_label[label]
