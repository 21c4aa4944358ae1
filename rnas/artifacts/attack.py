"""The folder of `rnas attack`: `attack.json`, one row per example, and every image that fooled the model.

`attack.json` is the last file to be written: a folder without it holds an unfinished attack.
"""

from __future__ import annotations

from collections.abc import Mapping
import csv
from dataclasses import dataclass
import io
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from rnas.artifacts.evaluation import KINDS
from rnas.artifacts.files import check_kinds, read_arrays, write_arrays, write_text
from rnas.artifacts.image_arrays import ImageArrays
from rnas.artifacts.record import Count, Number, Radius, Record, one_of
from rnas.artifacts.scores import Curve, Score
from rnas.attacks.epsilon_parsing import NORMS, pixel_radius
from rnas.attacks.sanity_checks import Check

FILE = "attack.json"
MODEL_KINDS = (*KINDS, "cell", "function")  # a cell of NAS-RobBench-201; any JAX function
EXAMPLES, TABLE, IMAGES = "examples.npz", "examples.csv", "adversarial.npz"
DISTANCES = tuple(f"distance_{norm}" for norm in NORMS)
COLUMNS = ("label", "clean_prediction", "adversarial_prediction", *DISTANCES)


@dataclass(frozen=True)
class AttackedModel:
    """What is stored of the model that was attacked."""

    name: str  # in files, such as 'baseline_trades'
    hash: str  # of all that makes this model differ from others
    num_classes: Count  # K
    kind: Annotated[str, one_of(*MODEL_KINDS)] = "function"  # one of `MODEL_KINDS`
    label: str = ""  # what people read, such as 'TRADES'; the name where it is empty
    source: str = ""  # where it was found, for people
    architecture: str = ""  # what it is, for people
    params: Count | None = None  # None where its size is not known
    macs: Count | None = None
    # Whether attacks had its gradient, or its answers alone; written where they had not.
    differentiable: Annotated[bool, Field(exclude_if=bool)] = True

    def __post_init__(self):
        if not self.label:
            object.__setattr__(self, "label", self.name)


@dataclass(frozen=True)
class Images:
    """The images that were attacked."""

    name: str  # of the data set
    split: str
    count: Count = 0  # how many
    sha256: str = ""  # of pixels and labels
    version: str | None = None
    first: Count | None = None  # number of the first image in the split; None where it is not known, as is `version`
    class_names: tuple[str, ...] = ()  # K names, or none


@dataclass(frozen=True)
class Threat:
    """Every image within `epsilon` (pixel units) of the clean one in `norm`; `epsilon_text` is the radius as given."""

    norm: Annotated[str, one_of(*NORMS)]
    epsilon: Radius
    epsilon_text: str

    @classmethod
    def of(cls, epsilon: str | float, norm: str = "linf") -> Threat:
        """Reads a radius such as '8/255'; raises ValueError where it cannot be one."""
        return cls(norm, float(pixel_radius(epsilon, norm)), str(epsilon))


@dataclass(frozen=True)
class AttackRow:
    """One attack, on the examples that the attacks before it left."""

    name: str  # in `rnas.attacks.catalogue`
    settings: Mapping[str, Any]  # its hyperparameters, for the reader: a step may be 'ε/4'
    attacked: Count  # examples
    fooled: Count
    cumulative: Score  # what is still classified correctly after it
    alone: Score | None  # what would be if no other attack had run; None where this was not measured
    seconds: Number  # wall time
    queries: Count  # images shown to the model

    def __post_init__(self):
        if self.fooled > self.attacked:
            raise ValueError(f"fooled is {self.fooled}, expected at most the {self.attacked} attacked examples")


@dataclass(frozen=True)
class TransferRow(Record):
    """What is classified correctly of the images that fooled another model."""

    beside = ("score",)

    source: str  # folder of the attack on that model
    model: str  # its label
    score: Score


@dataclass(frozen=True)
class Rounded:
    """Of `fooled` fooling images, how many still fool as bytes, and how many rounding takes out of the ball."""

    fooled: Count
    still_fooling: Count
    outside_ball: Count


@dataclass(frozen=True)
class Cost:
    """What the attack cost."""

    forward_seconds: Number  # of one forward pass of one image, in a full batch
    estimated_forwards: Count  # forward passes of one image, estimated before; a gradient counts as three
    forwards: Count  # those that were needed
    compilations: Count  # programs times batch sizes


@dataclass(frozen=True)
class AttackSummary(Record):
    """The content of `attack.json`."""

    format = 2
    earlier = remedy = "Attack again with another --output, or remove the folder."

    identity: Mapping[str, Any]  # all that the figures depend on; a folder of another identity is not continued
    model: AttackedModel
    dataset: Images
    threat: Threat
    attack: str  # 'auto_attack', or names of `rnas.attacks.catalogue` separated by commas
    version: str  # of AutoAttack; '' for other attacks
    seed: Count
    clean: Score  # without attack
    attacks: tuple[AttackRow, ...]  # in the order they ran
    robust: Score  # in the worst case over all attacks
    rounded: Annotated[Rounded, Field(alias="uint8")]
    curve: Curve  # over the radius, each radius attacked on its own
    transfer: tuple[TransferRow, ...]
    checks: tuple[Check, ...]  # sanity checks A to K, by letter
    warnings: tuple[str, ...]
    seconds: Number  # work of all measurements
    cost: Cost
    caveat: str
    versions: Mapping[str, str]
    device: str
    devices: Count
    batch_size: Count  # the largest, over all devices
    precision: str

    @property
    def failed(self) -> list[str]:
        """Letters of the checks that failed."""
        return [check.letter for check in self.checks if check.status == "failed"]


@dataclass(frozen=True, eq=False)
class FoolingImages(ImageArrays):
    """The images float32 [M, H, W, C] in [0, 1] that fooled the model, the content of `adversarial.npz`."""

    pictures = ("images", "clean")

    row: np.ndarray  # integers [M], places in the arrays of `examples.npz`
    images: np.ndarray
    clean: np.ndarray


def read_examples(folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads `examples.npz`: column -> array [N], at least `COLUMNS`. Raises ValueError where that is not there."""
    path = Path(folder) / EXAMPLES
    columns = read_arrays(path)
    shapes = {name: array.shape for name, array in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"{path}: shapes {shapes}, expected one value for each example in every array.")
    check_kinds(path, columns, {name: "numbers" if name in DISTANCES else "integers" for name in COLUMNS})
    return columns


def write_examples(folder: str | os.PathLike, columns: Mapping[str, np.ndarray]) -> None:
    """Writes one row per example, as arrays and as a table: `examples.npz` and `examples.csv`."""
    folder = Path(folder)
    write_arrays(folder / EXAMPLES, columns)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    write_text(folder / TABLE, text.getvalue())
