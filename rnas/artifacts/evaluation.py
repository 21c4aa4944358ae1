"""`evaluation.json` and `adversarial.npz`: how every model of a run does without attack and under the attacks.

The figures of the student are at the top level of the JSON too, so that `evaluation["pgd_100"]["accuracy"]` is the
robust accuracy of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import os
from typing import Any

import numpy as np

from rnas.artifacts.arrays import read_arrays
from rnas.artifacts.fields import Fields
from rnas.artifacts.files import write_arrays, write_json
from rnas.artifacts.scores import AttackScore, Curve, Score

FILE = "evaluation.json"
IMAGES = "adversarial.npz"
FORMAT = 2
# What a model of a run is. `method`: the student's network, trained by one adversarial method alone; `random` and
# `published`: networks with random and with published cells.
KINDS = ("student", "student_last", "teacher", "no_distillation", "plain", "method", "random", "published")
_REMEDY = "Its attacks had other names. Evaluate with that version, or repeat the run in a new work directory."


@dataclass(frozen=True)
class ModelScores:
    """The figures of one model.

    Attributes:
      kind: one of `KINDS`.
      label: what people read, such as 'TRADES with AWP'.
      params, macs: its size; None where it is not known.
      clean: without attack.
      attacks: name in `rnas.attacks.catalogue` -> score, at the headline radius; `auto_attack` among them where the
        model was put to it.
      epsilons: the other radii as the configuration writes them, such as '2/255' -> name -> score.
      curve: over the radius.
    """

    kind: str
    label: str
    params: int | None
    macs: int | None
    clean: Score
    attacks: Mapping[str, AttackScore]
    epsilons: Mapping[str, Mapping[str, AttackScore]] = field(default_factory=dict)
    curve: Curve | None = None

    @classmethod
    def from_fields(cls, fields: Fields) -> ModelScores:
        known = ("kind", "label", "params", "macs", "clean", "epsilons", "curve")
        others = fields.one("epsilons")
        return cls(
            kind=fields.choice("kind", KINDS),
            label=fields.text("label"),
            params=fields.optional("params", int),
            macs=fields.optional("macs", int),
            clean=Score.from_fields(fields.one("clean")),
            attacks=_attack_scores(fields, *known),
            epsilons={text: _attack_scores(others.one(text)) for text in others.names},
            curve=Curve.from_fields(fields.one("curve")) if "curve" in fields else None,
        )

    @classmethod
    def read(cls, path: str | os.PathLike) -> ModelScores:
        """Reads the figures of one model from a file of their own."""
        return cls.from_fields(Fields.of_file(path))

    def write(self, path: str | os.PathLike) -> None:
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "label": self.label, **self.figures()}

    def figures(self) -> dict[str, Any]:
        """The JSON object without what the model is called."""
        return {
            "params": self.params,
            "macs": self.macs,
            "clean": self.clean.to_json(),
            **_json(self.attacks),
            "epsilons": {text: _json(scores) for text, scores in self.epsilons.items()},
            "curve": None if self.curve is None else self.curve.to_json(),
        }


@dataclass(frozen=True)
class Evaluation:
    """The content of `evaluation.json`.

    Attributes:
      models: name -> figures, in the order of the run; the student is always there.
      dataset: fingerprint of the data, see `rnas.data.datasets.Dataset`.
      threat_model: norm of every radius.
      seed: of the random starts.
      versions: package -> version.
    """

    models: Mapping[str, ModelScores]
    dataset: Mapping[str, Any]
    threat_model: str
    seed: int
    versions: Mapping[str, str]

    @property
    def student(self) -> ModelScores:
        return self.models["student"]

    @classmethod
    def read(cls, path: str | os.PathLike) -> Evaluation:
        """Reads an `evaluation.json`.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it holds something else; the message names file and key. A file of an earlier version is refused.
        """
        fields = Fields.of_file(path)
        fields.check_format(FORMAT, _REMEDY)
        models = fields.one("models")
        models.one("student")
        return cls(
            models={name: ModelScores.from_fields(models.one(name)) for name in models.names},
            dataset=fields.mapping("dataset"),
            threat_model=fields.text("threat_model"),
            seed=fields.whole("seed"),
            versions=fields.mapping("versions"),
        )

    def write(self, path: str | os.PathLike) -> None:
        """Writes the file in one step."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            **self.student.figures(),
            "models": {name: scores.to_json() for name, scores in self.models.items()},
            "dataset": dict(self.dataset),
            "threat_model": self.threat_model,
            "seed": self.seed,
            "versions": dict(self.versions),
        }


@dataclass(frozen=True, eq=False)
class ExampleImages:
    """A few test images under PGD-100, the content of a run's `adversarial.npz`.

    Attributes:
      images, adversarial: float32 [n, H, W, C] in [0, 1], the clean images and those that the attack made of them.
      labels, clean_predictions, adversarial_predictions: integers [n].
    """

    images: np.ndarray
    adversarial: np.ndarray
    labels: np.ndarray
    clean_predictions: np.ndarray
    adversarial_predictions: np.ndarray

    @classmethod
    def read(cls, path: str | os.PathLike) -> ExampleImages:
        """Reads the file.

        Raises:
          ValueError: it is missing or holds something else.
        """
        arrays = read_arrays(path, tuple(cls.__dataclass_fields__))
        images, adversarial, *rows = arrays.values()
        if images.ndim != 4 or adversarial.shape != images.shape:
            raise ValueError(
                f"{path}: images {images.shape} and adversarial {adversarial.shape}, "
                "expected both [n, height, width, channels]."
            )
        if any(row.shape != images.shape[:1] for row in rows):
            raise ValueError(f"{path}: expected one label and two predictions for each of the {len(images)} images.")
        return cls(**arrays)

    def write(self, path: str | os.PathLike) -> None:
        write_arrays(path, vars(self))


def _attack_scores(fields: Fields, *others: str) -> dict[str, AttackScore]:
    return {name: AttackScore.from_fields(fields.one(name)) for name in fields.names if name not in others}


def _json(scores: Mapping[str, AttackScore]) -> dict[str, Any]:
    return {name: score.to_json() for name, score in scores.items()}
