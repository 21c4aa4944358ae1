"""Accuracies as `evaluation.json` and `attack.json` store them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
import math
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from rnas.artifacts.record import Count, Number, Radius, Record, Share


def _checked(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuses a step size that is neither a number nor written like one, as '2/255': pages compute with it."""
    step = settings.get("step_size", 0)
    try:
        fits = not isinstance(step, bool) and Fraction(step) >= 0
    except (TypeError, ValueError, ZeroDivisionError):
        fits = False
    if not fits:
        raise ValueError(f"step_size: expected a number from 0, got {step!r:.60}")
    return settings


Hyperparameters = Annotated[Mapping[str, Any], AfterValidator(_checked)]  # of an attack, by name


@dataclass(frozen=True)
class Score(Record):
    """The share of images that a model classifies correctly."""

    accuracy: Share  # in [0, 1]
    count: Count  # images measured
    interval: tuple[Number, Number]  # 95 % Wilson score interval of the accuracy

    @classmethod
    def of(cls, right: int, count: int, **fields: Any) -> Self:
        """`right` of `count` images are classified correctly; the accuracy of no image is 0."""
        return cls(right / max(count, 1), count, interval(right, count), **fields)


@dataclass(frozen=True)
class AttackScore(Score):
    """The accuracy under one attack at one radius."""

    beside = ("settings",)

    epsilon: Radius = 0.0  # radius in pixel units
    # The other hyperparameters: step_size (pixel units), steps, restarts, start, loss; of AutoAttack its version.
    settings: Hyperparameters = field(default_factory=dict)


@dataclass(frozen=True)
class CorruptionScore(Record):
    """The mean accuracy under common corruptions, over types and severities; see `rnas.artifacts.corruptions`."""

    accuracy: Share  # in [0, 1]
    types: Count  # of corruption: the published 15, or 14 where frost could not be made as published
    count: Count  # images under each type and severity
    source: str  # of the images: 'computed', or the name of a prepared set


def _of_point(content: Any) -> Any:
    return (content.get("epsilon"), content) if isinstance(content, Mapping) else content


Point = Annotated[
    tuple[Radius, Score],
    BeforeValidator(_of_point),
    PlainSerializer(lambda point: {"epsilon": point[0], **point[1].to_json()}),
]


@dataclass(frozen=True)
class Curve(Record):
    """Accuracy over the radius."""

    attack: str  # name of the attack in `rnas.attacks.catalogue`
    # (radius in pixel units, score), by ascending radius
    points: Annotated[tuple[Point, ...], AfterValidator(lambda points: tuple(sorted(points, key=lambda at: at[0])))]


def interval(hits: int, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of hits / count; (0, 1) without any example."""
    if count == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    centre = hits / count + z * z / (2 * count)
    spread = z * math.sqrt(hits / count * (1 - hits / count) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
