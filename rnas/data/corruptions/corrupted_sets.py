"""Sets of corrupted images: computed from clean ones, or the published ones where TFDS has prepared them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rnas.artifacts.corruptions import COMPUTED, SEVERITIES
from rnas.data.corruptions.corruption import CORRUPTIONS, Corruption, corrupt, types_for
from rnas.data.datasets import Split, open_builder, read_split

FROST = "frost"  # the published type, in place of ours
_THEIR_NAMES = {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"}


class CorruptedSet(Protocol):
    """Images of several types of corruption in five severities."""

    @property
    def name(self) -> str:
        """Where the images come from."""

    @property
    def types(self) -> Mapping[str, Corruption]:
        """Of corruption, in order."""

    def read(self, type_: str, severity: int) -> Any:
        """The images of a type and severity: `images`, `labels` and `ids`, as a `Split` has them."""


@dataclass(frozen=True, eq=False)
class LazyImages:
    """Images under one type of corruption; those that rows name are made, and not kept."""

    clean: np.ndarray  # uint8 [N, H, W, C]
    ids: np.ndarray  # integers [N]
    name: str
    severity: int
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.clean.shape

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return corrupt(self.clean[rows], self.name, self.severity, seed=self.seed, ids=self.ids[rows])


@dataclass(frozen=True, eq=False)
class LazySplit:
    """Images that are made where they are taken, with labels [N] and ids [N] of the clean ones."""

    images: LazyImages
    labels: np.ndarray
    ids: np.ndarray


class ComputedCorruptions:
    """Every type that changes images of the shape of some clean ones, uint8 or float32 in [0, 1].

    Floats are rounded to bytes first. Raises ValueError for images that are neither grey nor RGB, or too small.
    """

    name = COMPUTED

    def __init__(self, clean: Split, seed: int):
        images = clean.images
        self.types = {name: CORRUPTIONS[name] for name in types_for(images.shape[1:])}
        self._clean = Split(
            images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8), clean.labels, clean.ids
        )
        self._seed = seed

    def read(self, type_: str, severity: int) -> LazySplit:
        clean = self._clean
        return LazySplit(LazyImages(clean.images, clean.ids, type_, severity, self._seed), clean.labels, clean.ids)


class PreparedCorruptions:
    """A corrupted set, such as `cifar10_corrupted`: a TFDS configuration `<type>_<severity>` for each, of test images.

    The 15 types of the benchmark must be there, each of the 4 extra ones may. TFDS shuffles images: they are in another
    order than those of the clean set.

    Raises ValueError where the set, or one of the 15 types, is not prepared.
    """

    def __init__(self, name: str, data_dir: str | Path | None = None):
        self.name = name
        self.types: dict[str, Corruption] = {}
        self._builders = {}
        for type_, kind in CORRUPTIONS.items():
            if kind.standing == "ours":
                type_, kind = FROST, kind.published()
            theirs = _THEIR_NAMES.get(type_, type_)
            try:
                for severity in SEVERITIES:
                    self._builders[type_, severity] = open_builder(f"{name}/{theirs}_{severity}", data_dir)
            except ValueError:
                if kind.standing != "extra":
                    raise
                continue
            self.types[type_] = kind

    def read(self, type_: str, severity: int) -> Split:
        return read_split(self._builders[type_, severity], "test")
