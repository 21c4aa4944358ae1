"""The folder of `rnas attack`: `attack.json`, one row per example, and every image that fooled the model.

`attack.json` is the last file to be written: a folder without it holds an unfinished attack.
"""

from __future__ import annotations

from collections.abc import Mapping
import csv
from dataclasses import dataclass, field
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts.arrays import read_arrays
from rnas.artifacts.evaluation import KINDS
from rnas.artifacts.fields import Fields
from rnas.artifacts.files import write_arrays, write_json, write_text
from rnas.artifacts.scores import Curve, Score
from rnas.attacks.epsilon_parsing import NORMS
from rnas.attacks.sanity_checks import STATUSES, Check

FILE = "attack.json"
FORMAT = 2
MODEL_KINDS = (*KINDS, "cell", "function")  # a cell of NAS-RobBench-201; any JAX function
EXAMPLES, TABLE, IMAGES = "examples.npz", "examples.csv", "adversarial.npz"
COLUMNS = ("label", "clean_prediction", "adversarial_prediction", *(f"distance_{norm}" for norm in NORMS))
_REMEDY = "Attack again with another --output, or remove the folder."


@dataclass(frozen=True)
class AttackedModel:
    """The model that was attacked; see `rnas.evaluation.EvaluatedModel`."""

    name: str
    kind: str
    label: str
    source: str
    architecture: str
    hash: str
    params: int | None
    macs: int | None
    num_classes: int


@dataclass(frozen=True)
class Images:
    """The images that were attacked.

    Attributes:
      name, version, split: of the data set.
      first: number of the first image in the split; None where it is not known, as is `version`.
      count: how many.
      class_names: K names, or none.
      sha256: of pixels and labels.
    """

    name: str
    split: str
    count: int = 0
    sha256: str = ""
    version: str | None = None
    first: int | None = None
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttackRow:
    """One attack, on the examples that the attacks before it left.

    Attributes:
      name: in `rnas.attacks.catalogue`.
      settings: its hyperparameters.
      attacked, fooled: examples.
      cumulative: what is still classified correctly after it.
      alone: what would be if no other attack had run; None where this was not measured.
      seconds: wall time.
      queries: images shown to the model.
    """

    name: str
    settings: Mapping[str, Any]
    attacked: int
    fooled: int
    cumulative: Score
    alone: Score | None
    seconds: float
    queries: int

    @classmethod
    def from_fields(cls, fields: Fields) -> AttackRow:
        attacked = fields.whole("attacked")
        if fields.whole("fooled") > attacked:
            raise fields.error("fooled", f"at most the {attacked} attacked examples")
        return fields.record(
            cls,
            settings=fields.mapping("settings"),
            cumulative=Score.from_fields(fields.one("cumulative")),
            alone=Score.from_fields(fields.one("alone")) if "alone" in fields else None,
        )

    def to_json(self) -> dict[str, Any]:
        scores = {"cumulative": self.cumulative.to_json(), "alone": self.alone and self.alone.to_json()}
        return {**vars(self), "settings": dict(self.settings), **scores}


@dataclass(frozen=True)
class TransferRow:
    """What is classified correctly of the images that fooled another model.

    Attributes:
      source: folder of the attack on that model.
      model: its label.
    """

    source: str
    model: str
    score: Score

    @classmethod
    def from_fields(cls, fields: Fields) -> TransferRow:
        return cls(fields.text("source"), fields.text("model"), Score.from_fields(fields))

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "model": self.model, **self.score.to_json()}


@dataclass(frozen=True)
class Rounded:
    """Of `fooled` fooling images, how many still fool as bytes, and how many rounding takes out of the ball."""

    fooled: int
    still_fooling: int
    outside_ball: int


@dataclass(frozen=True)
class Cost:
    """What the attack cost.

    Attributes:
      forward_seconds: of one forward pass of one image, in a full batch.
      estimated_forwards: forward passes of one image, estimated before; a gradient counts as three.
      forwards: those that were needed.
      compilations: programs times batch sizes.
    """

    forward_seconds: float
    estimated_forwards: int
    forwards: int
    compilations: int


@dataclass(frozen=True)
class AttackSummary:
    """The content of `attack.json`.

    Attributes:
      identity: all that the figures depend on; a folder of another identity is not continued.
      norm, epsilon, epsilon_text: every image within `epsilon` (pixel units) of the clean one in `norm`; the radius as
        it was written.
      attack: 'auto_attack', or names of `rnas.attacks.catalogue` separated by commas.
      version: of AutoAttack; '' for other attacks.
      clean, robust: without attack, and in the worst case over all attacks.
      attacks: in the order they ran.
      curve: over the radius, each radius attacked on its own.
      checks: sanity checks A to K, by letter.
      seconds: work of all measurements.
      batch_size: the largest, over all devices.
    """

    model: AttackedModel
    dataset: Images
    norm: str
    epsilon: float
    epsilon_text: str
    attack: str
    version: str
    seed: int
    clean: Score
    attacks: tuple[AttackRow, ...]
    robust: Score
    rounded: Rounded
    curve: Curve
    transfer: tuple[TransferRow, ...]
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    seconds: float
    cost: Cost
    caveat: str
    versions: Mapping[str, str]
    device: str
    devices: int
    batch_size: int
    precision: str
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """Letters of the checks that failed."""
        return [check.letter for check in self.checks if check.status == "failed"]

    @classmethod
    def read(cls, path: str | os.PathLike) -> AttackSummary:
        """Reads an `attack.json`.

        Raises:
          FileNotFoundError: there is no such file, so the attack is unfinished.
          ValueError: it holds something else, or an earlier version wrote it; the message names file and key.
        """
        fields = Fields.of_file(path)
        fields.check_format(FORMAT, _REMEDY)
        model, threat = fields.one("model"), fields.one("threat")
        return fields.record(
            cls,
            model=model.record(AttackedModel, kind=model.choice("kind", MODEL_KINDS)),
            dataset=fields.one("dataset").record(Images),
            norm=threat.choice("norm", NORMS),
            epsilon=threat.number("epsilon", 0.0),
            epsilon_text=threat.text("epsilon_text"),
            clean=Score.from_fields(fields.one("clean")),
            attacks=tuple(map(AttackRow.from_fields, fields.each("attacks"))),
            robust=Score.from_fields(fields.one("robust")),
            rounded=fields.one("uint8").record(Rounded),
            curve=Curve.from_fields(fields.one("curve")),
            transfer=tuple(map(TransferRow.from_fields, fields.each("transfer"))),
            checks=tuple(
                check.record(Check, status=check.choice("status", STATUSES)) for check in fields.each("checks")
            ),
            cost=fields.one("cost").record(Cost),
            versions=fields.mapping("versions"),
            identity=fields.mapping("identity"),
        )

    def write(self, path: str | os.PathLike) -> None:
        """Writes the file in one step."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "identity": dict(self.identity),
            "model": vars(self.model),
            "dataset": {**vars(self.dataset), "class_names": list(self.dataset.class_names)},
            "threat": {"norm": self.norm, "epsilon": self.epsilon, "epsilon_text": self.epsilon_text},
            "attack": self.attack,
            "version": self.version,
            "seed": self.seed,
            "clean": self.clean.to_json(),
            "attacks": [row.to_json() for row in self.attacks],
            "robust": self.robust.to_json(),
            "uint8": vars(self.rounded),
            "curve": self.curve.to_json(),
            "transfer": [row.to_json() for row in self.transfer],
            "checks": [vars(check) for check in self.checks],
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "cost": vars(self.cost),
            "caveat": self.caveat,
            "versions": dict(self.versions),
            "device": self.device,
            "devices": self.devices,
            "batch_size": self.batch_size,
            "precision": self.precision,
        }


@dataclass(frozen=True, eq=False)
class FoolingImages:
    """The images that fooled the model, the content of `adversarial.npz`.

    Attributes:
      row: integers [M], places in the arrays of `examples.npz`.
      images, clean: float32 [M, H, W, C] in [0, 1].
    """

    row: np.ndarray
    images: np.ndarray
    clean: np.ndarray

    @classmethod
    def read(cls, folder: str | os.PathLike) -> FoolingImages:
        """Reads them from the folder of an attack.

        Raises:
          ValueError: the file is missing or holds something else.
        """
        path = Path(folder) / IMAGES
        arrays = read_arrays(path, tuple(cls.__dataclass_fields__))
        rows, images, clean = arrays.values()
        if images.ndim != 4 or clean.shape != images.shape or rows.shape != images.shape[:1]:
            raise ValueError(
                f"{path}: row {rows.shape}, images {images.shape} and clean {clean.shape}, "
                "expected [n] and twice [n, height, width, channels]."
            )
        return cls(**arrays)

    def write(self, folder: str | os.PathLike) -> None:
        write_arrays(Path(folder) / IMAGES, vars(self))


def read_examples(folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads `examples.npz`: column -> array [N], at least those of `COLUMNS`.

    Raises:
      ValueError: the file is missing or holds something else.
    """
    path = Path(folder) / EXAMPLES
    columns = read_arrays(path)
    if missing := [name for name in COLUMNS if name not in columns]:
        raise ValueError(f"{path} lacks {', '.join(missing)}.")
    shapes = {name: array.shape for name, array in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"{path}: shapes {shapes}, expected one value for each example in every array.")
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
