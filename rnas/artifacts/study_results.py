"""`study.json`: arms of a study over its seeds, and what the paired statistics find between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from rnas.artifacts.evaluation import KINDS
from rnas.artifacts.record import LEFT_OUT, Count, Number, Radius, Record, Share, Size, one_of

FILE = "study.json"
VERSUS = " : "  # in the configuration's `comparisons`, between an arm and its reference


def models_of(comparison: str) -> list[str]:
    """The names of the models that 'ARM : REFERENCE' compares; a baseline's begins with baseline_ there alone."""
    return [arm if arm in ("student", "teacher") else f"baseline_{arm}" for arm in comparison.split(VERSUS)]


def seed_folder(seed: int) -> str:
    """The folder of a seed's run, in the work directory of the study."""
    return f"seed_{seed}"


@dataclass(frozen=True)
class StudyArm(Record):
    """One arm; all tuples are in the order of the study's seeds."""

    name: str  # of the model in each run: student, baseline_<name>, teacher
    kind: Annotated[str, one_of(*KINDS)]
    label: str  # what people read
    params: tuple[Count | None, ...]
    macs: tuple[Count | None, ...]
    # Name of a measurement, 'clean' or '<attack>@<radius>' -> accuracy of each seed.
    accuracies: Mapping[str, tuple[Share, ...]]
    curve: Mapping[str, tuple[Share, ...]] = field(default_factory=dict)  # radius -> accuracy of each seed
    corruptions: Annotated[tuple[Share, ...] | None, LEFT_OUT] = None  # mean accuracy of each seed; None: not measured


@dataclass(frozen=True)
class StudyComparison(Record):
    """An arm beside its reference under one measurement, see `rnas.evaluation.paired_statistics.Comparison`."""

    arm: str
    reference: str
    measurement: str
    difference: Number  # of mean accuracies
    interval: tuple[Number, Number]  # 95 %
    bootstrap: tuple[Number, Number]  # 95 %, seeds and images resampled
    p_value: Share
    p_adjusted: Share  # Holm, over all comparisons under this measurement
    same_sign: bool  # of the difference in every seed
    first_only: Share  # images that only the arm classifies correctly, mean over seeds
    second_only: Share
    images: Size
    seeds: Size
    method: str  # of interval and p-value


@dataclass(frozen=True)
class StudyResults(Record):
    """The content of `study.json`."""

    format = 1
    earlier = "Run the study again: finished seeds are not trained again."

    seeds: tuple[Count, ...]
    images: Size  # of the test set
    dataset: Mapping[str, Any]  # fingerprint
    epsilons: tuple[str, ...]  # of the tables, the headline first
    training_epsilon: Radius
    headline: str  # the measurement that the conclusions rest on
    # Difference between two trained models that the images show with 80 % power where the two disagree on 15 % of them.
    detectable: Number
    arms: tuple[StudyArm, ...]
    comparisons: tuple[StudyComparison, ...]
    versions: Mapping[str, str]
    precision: str | None = None

    def arm(self, name: str) -> StudyArm:
        return next(arm for arm in self.arms if arm.name == name)
