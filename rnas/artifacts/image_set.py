"""`image_set.json`: what a set of images is that `rnas data import` has made, beside its records."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Annotated

from pydantic import Field

from rnas.artifacts.record import Count, Extent, Record, Share

FILE = "image_set.json"


@dataclasses.dataclass(frozen=True)
class Import(Record):
    """How the set came to be."""

    source: str  # as it was given
    kind: str  # what it was
    notes: tuple[str, ...]  # how it was understood, what was done to the images, how the test part was chosen
    left_out: tuple[str, ...]  # images that are not in the set, each with its reason
    twice: tuple[str, ...]  # images that are in it although equal ones are


@dataclasses.dataclass(frozen=True)
class ImageSet(Record):
    """The content of the file."""

    format = 1
    remedy = "It describes no set of images: restore the file, or import the images again."

    name: str  # of the set, for TFDS and data.name
    image_shape: tuple[Extent, Extent, Extent]  # [H, W, C]
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    counts: Mapping[str, tuple[Count, ...]]  # part, train or test → its images of each class
    mean: tuple[Share, ...]  # of each channel over the training images, pixels in [0, 1]
    std: tuple[Share, ...]  # of the same pixels
    checksum: str  # SHA-256 of all images and labels, whatever their order
    origin: Import

    def __post_init__(self):
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.image_shape[2]:
                raise ValueError(f"{name}: expected a number for each of {self.image_shape[2]} channels")
        for part in ("train", "test"):
            if len(self.counts.get(part, ())) != len(self.class_names):
                raise ValueError(f"counts.{part}: expected a number for each of {len(self.class_names)} classes")

    @property
    def train_count(self) -> int:
        """How many training images there are."""
        return sum(self.counts["train"])
