"""What is known of a trained model: the card that `rnas.load` gives, and that every exported file carries."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from pathlib import Path
from typing import Any

from rnas.artifacts.attack import FILE, AttackSummary
from rnas.artifacts.evaluation import FILE as EVALUATION
from rnas.artifacts.evaluation import Checkpoint, Evaluation, ModelScores
from rnas.artifacts.record import Classes, Count, Extent, Number, Record
from rnas.artifacts.scores import Score

INPUT = "float32 images in [0, 1]; the normalisation is inside the model"


@dataclasses.dataclass(frozen=True)
class AttackFigures:
    """The outcome of one `rnas attack`."""

    attack: str  # 'auto_attack', or names of `rnas.attacks.catalogue` separated by commas
    version: str  # of AutoAttack; '' for other attacks
    norm: str
    epsilon: str  # as it was given
    split: str  # of which images
    dataset: str
    clean: Score
    robust: Score  # in the worst case over all attacks
    failed_checks: tuple[str, ...]  # letters of the sanity checks that failed


@dataclasses.dataclass(frozen=True)
class ModelCard(Record):
    """What is known of a model, JSON-able."""

    name: str  # student, teacher, baseline_…
    label: str  # what people read
    kind: str  # one of `rnas.artifacts.attack.MODEL_KINDS`
    architecture: str
    params: Count | None
    macs: Count | None  # of one image
    num_classes: Classes
    image_shape: tuple[Extent, Extent, Extent]  # [H, W, C]
    mean: tuple[Number, ...]  # that the model subtracts from each channel
    std: tuple[Number, ...]  # by which it divides the difference
    dataset: str  # on which it was trained; empty where that is not recorded
    hash: str  # of all that makes this model differ from others
    source: str  # where it was found
    input: str = INPUT
    checkpoint: Checkpoint | None = None
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # how it came to be
    evaluation: ModelScores | None = None  # of the run's evaluation, on its test set
    attacks: tuple[AttackFigures, ...] = ()
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


def scores_of(workdir: Path, name: str, checkpoint: Checkpoint | None) -> ModelScores | None:
    """The figures of a model in the evaluation of its run; None where there are none, or they are of another step."""
    if not (workdir / EVALUATION).exists():
        return None
    scores = Evaluation.read(workdir / EVALUATION).models.get(name)
    return None if scores is None or scores.checkpoint not in (None, checkpoint) else scores


def attacks_of(folder: Path, model_hash: str) -> tuple[AttackFigures, ...]:
    """What `rnas attack` has found for the model of this hash, from the finished evaluations in a folder."""
    summaries = [AttackSummary.read(path) for path in sorted(folder.glob(f"*/{FILE}"))]
    return tuple(
        AttackFigures(
            found.attack, found.version, found.threat.norm, found.threat.epsilon_text,
            found.dataset.split, found.dataset.name, found.clean, found.robust, tuple(found.failed),
        )
        for found in summaries
        if found.model.hash == model_hash
    )  # fmt: skip
