"""`evaluation/<model>.npz`: which test images a model of a run classifies correctly, without attack and under each.

Two models are compared on the images on which they disagree, which their accuracies do not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
import os
from typing import Self

import numpy as np

from rnas.artifacts.files import check_kinds, read_arrays, write_arrays

FOLDER = "evaluation"  # of a work directory
_IDS, _LABELS = "ids", "labels"


def measurement(attack: str, epsilon: str) -> str:
    """The name of what was measured: an attack, or `curve`, at a radius as it was written, such as `pgd_100@8/255`."""
    return f"{attack}@{epsilon}"


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Per image, in the order of the test set, whether one model classifies it correctly.

    Attributes:
        ids: integers [N], the row of each image in its split of the data set.
        labels: integers [N].
        right: name of a measurement -> bool [n]: `clean`, `<attack>@<radius>`, `curve@<radius>`; n is N, or less where
            only the first n images were measured.
    """

    ids: np.ndarray
    labels: np.ndarray
    right: Mapping[str, np.ndarray]

    def __post_init__(self):
        wrong = [
            name
            for name, array in self.right.items()
            if array.dtype != bool or array.ndim != 1 or len(array) > len(self.ids)
        ]
        if self.ids.ndim != 1 or self.labels.shape != self.ids.shape or wrong:
            shapes = {_IDS: self.ids, _LABELS: self.labels, **{name: self.right[name] for name in wrong}}
            found = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in shapes.items())
            raise ValueError(f"outcomes have {found}; expected an id and a label for each image, and bool of the rest")

    @classmethod
    def read(cls, path: str | os.PathLike) -> Self:
        """Reads the file. Raises ValueError where it is missing or holds something else."""
        arrays = read_arrays(path)
        check_kinds(path, arrays, {_IDS: "integers", _LABELS: "integers"})
        ids, labels = arrays.pop(_IDS), arrays.pop(_LABELS)
        try:
            return cls(ids, labels, arrays)
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from error

    def write(self, path: str | os.PathLike) -> None:
        write_arrays(path, {_IDS: self.ids, _LABELS: self.labels, **self.right})

    def check_same_images(self, other: Outcomes, names: str = "two models") -> None:
        """Raises ValueError where `other` is about other images, or the same ones in another order."""
        if np.array_equal(self.ids, other.ids) and np.array_equal(self.labels, other.labels):
            return
        counts = f"{len(self.ids)} and {len(other.ids)} images"
        common = len(np.intersect1d(self.ids, other.ids))
        raise ValueError(
            f"{names} were judged on other images: {counts}, {common} ids in common. Only outcomes of the same images "
            "in the same order, with the same labels, can be compared."
        )

    def with_examples(self, name: str, examples: Mapping[str, np.ndarray]) -> Self:
        """These outcomes with the worst case of an evaluation of the suite, the columns of its `examples.npz`.

        Raises ValueError where it attacked others than the first of these images.
        """
        lacking = [column for column in ("id", "label", "clean_correct", "fooled_by") if column not in examples]
        if lacking:
            raise ValueError(f"the examples of {name} lack {', '.join(lacking)}")
        right = examples["clean_correct"].astype(bool) & (examples["fooled_by"] == "")
        first = Outcomes(self.ids[: len(right)], self.labels[: len(right)], {})
        first.check_same_images(Outcomes(examples["id"], examples["label"], {}), f"the run and {name}")
        return replace(self, right={**self.right, name: right})
