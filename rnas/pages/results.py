"""What was measured of each model, and what in it asks for caution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import contextlib
from dataclasses import dataclass, field, replace
import statistics
from typing import NamedTuple

from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.corruptions import COMPUTED, CorruptionSummary
from rnas.artifacts.evaluation import Evaluation, ModelScores
from rnas.artifacts.outcomes import Outcomes, measurement
from rnas.artifacts.scores import AttackScore
from rnas.attacks.catalogue import AUTO_ATTACK, label_of
from rnas.pages.cells import Graph
from rnas.pages.quantity import exact, norm_label, number_of, radius
from rnas.pages.site import lines
from rnas.pages.workdir import AttackFolder, Workdir

HEADLINE_ATTACK = "pgd_100"
_ORDER = ("student", "student_last", "teacher", "no_distillation", "plain", "ablation", "method", "published", "random")


@dataclass(frozen=True)
class Results:
    """An evaluation, with AutoAttack of the attack suite beside its own attacks.

    Attributes:
        models: name -> figures, in the order of a page; empty before the evaluation.
        norm: of every radius.
        epsilon: radius of the student's headline; None before the evaluation.
        outcomes: name -> which test images the model classifies correctly, where that was kept.
        classes: of the images; 0 where that is not known.
    """

    models: Mapping[str, ModelScores]
    norm: str = "linf"
    epsilon: float | None = None
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)
    classes: int = 0

    @property
    def student(self) -> ModelScores | None:
        return self.models.get("student")

    @property
    def attack(self) -> str:
        """The attack of the headline: AutoAttack where the student was put to it, unless its images are easy."""
        auto = self.headline("student", AUTO_ATTACK)
        return AUTO_ATTACK if auto and not self.has_easy_images("student") else HEADLINE_ATTACK

    @property
    def is_at_chance(self) -> bool:
        """Whether the student cannot be told from guessing, even without attack."""
        return bool(self.student and self.classes) and self.student.clean.interval[0] <= 1 / self.classes

    def has_easy_images(self, name: str) -> bool:
        """Whether AutoAttack judged fewer images of a model than PGD-100, and leaves a greater share of them."""
        auto, long = (self.headline(name, attack) for attack in (AUTO_ATTACK, HEADLINE_ATTACK))
        return bool(auto and long and auto.count < long.count and auto.accuracy > long.accuracy)

    def fewer(self, score: AttackScore | None) -> str:
        """'first N images' for a score of fewer images than the run's, else nothing."""
        all_images = self.student.clean.count if self.student else 0
        return f"first {exact(score.count)} images" if score and score.count < all_images else ""

    def at(self, name: str, epsilon: float | None) -> Mapping[str, AttackScore]:
        """Attack -> score of a model at a radius."""
        return by_radius(self.models[name]).get(epsilon, {}) if name in self.models else {}

    def headline(self, name: str, attack: str | None = None) -> AttackScore | None:
        """The score of a model at the radius of the headline, under `attack` (None: the headline's)."""
        return self.at(name, self.epsilon).get(attack or self.attack)

    def of_kind(self, *kinds: str) -> list[str]:
        """Names of the models of these kinds."""
        return [name for name, model in self.models.items() if model.kind in kinds]

    def comparable(self, others: Iterable[str]) -> str:
        """The attack to compare the student with others by: the headline's if all were put to it on as many images.

        Else PGD-100; models that were not put to that either do not count.
        """
        there = [name for name in ("student", *others) if self.headline(name, HEADLINE_ATTACK)]
        scores = [self.headline(name) for name in there]
        alike = None not in scores and len({score.count for score in scores}) == 1
        return self.attack if alike else HEADLINE_ATTACK

    def radius(self, value: float | None) -> str:
        """A radius or step size in words; empty for None."""
        return "" if value is None else radius(value, self.norm)


def read_results(workdir: Workdir) -> Results:
    """The figures of a run, with AutoAttack where model, images, norm and radius agree."""
    evaluation = workdir.evaluation
    if evaluation is None:
        return Results({})
    models = dict(sorted(evaluation.models.items(), key=lambda item: _ORDER.index(item[1].kind)))
    outcomes = dict(workdir.outcomes)
    for folder in workdir.attacks:
        name = folder.summary.model.name
        if _belongs(folder.summary, evaluation) and _same_clean(folder.summary, models[name]):
            former, models[name] = models[name], _with_auto_attack(models[name], folder.summary)
            if models[name] is not former and name in outcomes:
                outcomes[name] = _with_outcomes(outcomes[name], folder)
    for summary in workdir.corruptions.values():
        if _is_of_run(summary, models):
            name = summary.model.name
            models[name] = replace(models[name], corruptions=summary.score)
    student = models["student"].attacks
    first = student.get(HEADLINE_ATTACK) or next(iter(student.values()), None)
    epsilon = None if first is None else radius_key(first.epsilon)
    classes = workdir.setting("data.num_classes") or len(evaluation.dataset.get("class_names") or ())
    return Results(models, evaluation.threat_model, epsilon, outcomes, classes)


def short_label(label: str) -> str:
    """The label of a model without the word that nearly all baselines begin with."""
    return label.removeprefix("Baseline, ")


def by_radius(model: ModelScores) -> dict[float, Mapping[str, AttackScore]]:
    """Radius -> attack -> score: the headline's radius first, then ascending."""
    groups = {radius_key(text): scores for text, scores in model.epsilons.items()}
    first = {radius_key(score.epsilon) for score in model.attacks.values()}
    assert len(first) < 2, f"{model.label}: attacks of several radii {first} stand at the headline's"
    return {**dict.fromkeys(first, model.attacks), **dict(sorted(groups.items()))}


def radius_key(epsilon: float | str) -> float:
    """Radii as dictionary keys: 8/255 written as a fraction and as a float32 are one radius."""
    return round(number_of(epsilon), 7)


def _with_auto_attack(model: ModelScores, summary: AttackSummary) -> ModelScores:
    """The model with the worst case of an AutoAttack beside its other attacks, unless a lower one stands there."""
    key = radius_key(summary.threat.epsilon)
    known = by_radius(model).get(key, {}).get(AUTO_ATTACK)
    if known is not None and known.accuracy <= summary.robust.accuracy:
        return model
    settings = {"version": summary.version}
    score = {AUTO_ATTACK: AttackScore(**vars(summary.robust), epsilon=summary.threat.epsilon, settings=settings)}
    if any(radius_key(other.epsilon) == key for other in model.attacks.values()):
        return replace(model, attacks={**model.attacks, **score})
    same = {text: {**scores, **score} for text, scores in model.epsilons.items() if radius_key(text) == key}
    return replace(model, epsilons={**model.epsilons, **same})


def _with_outcomes(outcomes: Outcomes, folder: AttackFolder) -> Outcomes:
    """The outcomes with those of an AutoAttack, if it attacked the same images."""
    name = measurement(AUTO_ATTACK, folder.summary.threat.epsilon_text)
    with contextlib.suppress(ValueError):
        return outcomes.with_examples(name, folder.examples)
    return outcomes


def _belongs(summary: AttackSummary, evaluation: Evaluation) -> bool:
    """Whether an evaluation of the suite states that it attacked what the results are about."""
    model = evaluation.models.get(summary.model.name)
    if summary.attack != AUTO_ATTACK or model is None:
        return False
    return summary.threat.norm == evaluation.threat_model.lower() and summary.clean.count == model.clean.count


def _is_of_run(summary: CorruptionSummary, models: Mapping[str, ModelScores]) -> bool:
    """Whether a measurement of corruptions is of a model and of the test images of a run, and says something new.

    Published images are worth more than computed ones.
    """
    model = models.get(summary.model.name)
    if model is None or summary.dataset.split != "test" or summary.clean.count != model.clean.count:
        return False
    return _same_clean(summary, model) and (model.corruptions is None or summary.source != COMPUTED)


def _same_clean(summary: AttackSummary | CorruptionSummary, model: ModelScores) -> bool:
    """Two passes over the same images may differ by rounding: by an example, or by half a point."""
    return abs(summary.clean.accuracy - model.clean.accuracy) <= max(0.005, 1.5 / max(1, summary.clean.count))


class Spread(NamedTuple):
    """Mean and range of `size` values, and their standard deviation (of a sample; None of a single one)."""

    mean: float
    deviation: float | None
    low: float
    high: float
    size: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """The spread of values; None where there are none, or one is not known."""
    known = list(values)
    if not known or None in known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), deviation, min(known), max(known), len(known))


def cautions(results: Results, held_out: int | None, cells: Iterable[Graph] = ()) -> list[str]:
    """What a reader must know before believing the figures of a run; empty when nothing was noticed."""
    return lines("cautions.txt", {"results": results, "held_out": held_out, "cells": cells, "by_radius": by_radius})


def threat(summary: AttackSummary) -> str:
    """Norm and radius of an evaluation of the suite in words."""
    return f"{norm_label(summary.threat.norm)} \u03b5 = {summary.threat.epsilon_text}"


def suite_cautions(folders: Iterable[AttackFolder], evaluation: Evaluation | None = None) -> list[str]:
    """Failed checks, warnings, and evaluations that contradict the run's own; empty when nothing was noticed."""

    def contradicted(summary: AttackSummary) -> ModelScores | None:
        model = evaluation.models[summary.model.name] if evaluation and _belongs(summary, evaluation) else None
        return None if model is None or _same_clean(summary, model) else model

    words = {"contradicted": contradicted, "threat": threat, "label_of": label_of}
    return lines("suite_cautions.txt", {"summaries": [folder.summary for folder in folders], **words})
