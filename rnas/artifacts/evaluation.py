"""`evaluation.json` and `adversarial.npz`: how every model of a run does without attack and under the attacks.

The figures of the student are at the top level of the JSON too, so that `evaluation["pgd_100"]["accuracy"]` is the
robust accuracy of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from rnas.artifacts.image_arrays import ImageArrays
from rnas.artifacts.record import LEFT_OUT, Count, Number, Record, one_of
from rnas.artifacts.scores import AttackScore, CorruptionScore, Curve, Score

FILE = "evaluation.json"
IMAGES = "adversarial.npz"
# What a model of a run is. `method`: the student's network, trained by one adversarial method alone; `random` and
# `published`: networks with random and with published cells.
KINDS = ("student", "student_last", "teacher", "no_distillation", "plain", "method", "ablation", "random", "published")


@dataclass(frozen=True)
class Checkpoint:
    """Which step of a stage a model is, and why that one."""

    stage: str  # that trained it
    step: Count
    choice: Annotated[str, one_of("best", "last")]  # "best": the highest score on held-out images; "last": of the stage
    score: Number | None = None  # on held-out images; None where it was not measured
    images: Count = 0  # how many of them

    def __str__(self) -> str:
        score = "" if self.score is None else f", score {self.score:.4g}"
        why = f"the best on {self.images:,} held-out images" if self.choice == "best" else "the last"
        return f"step {self.step:,} of {self.stage}, {why}{score}"


@dataclass(frozen=True)
class ModelScores(Record):
    """The figures of one model; attacks have their names in `rnas.attacks.catalogue`."""

    beside = ("attacks",)

    kind: Annotated[str, one_of(*KINDS)]  # one of `KINDS`
    label: str  # what people read, such as 'TRADES with AWP'
    params: Count | None  # its size; None where it is not known
    macs: Count | None
    clean: Score  # without attack
    attacks: Mapping[str, AttackScore] = field(default_factory=dict)  # name -> score at the headline radius
    # The other radii as the configuration writes them, such as '2/255' -> name -> score.
    epsilons: Mapping[str, Mapping[str, AttackScore]] = field(default_factory=dict)
    curve: Curve | None = None  # over the radius; None without radii
    checkpoint: Annotated[Checkpoint | None, LEFT_OUT] = None  # None of a teacher, and in files of earlier versions
    corruptions: Annotated[CorruptionScore | None, LEFT_OUT] = None  # None where that was not measured

    def __post_init__(self):
        if self.curve and not self.curve.points:
            object.__setattr__(self, "curve", None)


@dataclass(frozen=True)
class Evaluation(Record):
    """The content of `evaluation.json`."""

    format = 2
    earlier = "Its attacks had other names. Evaluate with that version, or repeat the run in a new work directory."

    models: Mapping[str, ModelScores]  # name -> figures, in the order of the run; the student is always there
    # Fingerprint of the data, see `rnas.data.datasets.Dataset`, with the names of the classes.
    dataset: Mapping[str, Any]
    threat_model: str  # norm of every radius
    seed: Count  # of the random starts
    versions: Mapping[str, str]  # package -> version
    precision: Annotated[str | None, LEFT_OUT] = None  # what the models computed in

    def __post_init__(self):
        if "student" not in self.models:
            raise ValueError("models.student: expected an object, which is missing")

    @property
    def student(self) -> ModelScores:
        return self.models["student"]

    def to_json(self) -> dict[str, Any]:
        content = super().to_json()
        named = {"kind", "label"}
        figures = {key: value for key, value in content["models"]["student"].items() if key not in named}
        return {"format": self.format, **figures, **content}


@dataclass(frozen=True, eq=False)
class ExampleImages(ImageArrays):
    """A few test images under PGD-100, the content of a run's `adversarial.npz`."""

    pictures = ("images", "adversarial")

    images: np.ndarray  # float32 [n, H, W, C] in [0, 1]
    adversarial: np.ndarray  # what the attack made of them
    labels: np.ndarray  # integers [n], as the predictions
    clean_predictions: np.ndarray
    adversarial_predictions: np.ndarray
