"""Accuracies as `evaluation.json` and `attack.json` store them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnas.artifacts.fields import Fields
from rnas.artifacts.wilson import interval


@dataclass(frozen=True)
class Score:
    """The share of images that a model classifies correctly.

    Attributes:
      accuracy: in [0, 1].
      count: images measured.
      interval: 95 % Wilson score interval of the accuracy.
    """

    accuracy: float
    count: int
    interval: tuple[float, float]

    @classmethod
    def of(cls, right: int, count: int) -> Score:
        """`right` of `count` images are classified correctly; the accuracy of no image is 0."""
        low, high = interval(right, count)
        return cls(right / max(count, 1), count, (low, high))

    @classmethod
    def from_fields(cls, fields: Fields) -> Score:
        return cls(**_score(fields))

    def to_json(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "count": self.count, "interval": list(self.interval)}


@dataclass(frozen=True)
class AttackScore(Score):
    """The accuracy under one attack at one radius.

    Attributes:
      epsilon: radius in pixel units.
      settings: the other hyperparameters of the attack: step_size (pixel units), steps, restarts, start, loss; of
        AutoAttack its version.
    """

    epsilon: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_attack(cls, right: int, count: int, epsilon: float, settings: Mapping[str, Any]) -> AttackScore:
        """See `Score.of`."""
        return cls(**vars(Score.of(right, count)), epsilon=epsilon, settings=dict(settings))

    @classmethod
    def from_fields(cls, fields: Fields) -> AttackScore:
        settings = fields.except_for("accuracy", "count", "interval", "epsilon")
        return cls(**_score(fields), epsilon=fields.number("epsilon", 0.0), settings=settings)

    def to_json(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon, **self.settings, **super().to_json()}


@dataclass(frozen=True)
class Curve:
    """Accuracy over the radius.

    Attributes:
      attack: name of the attack in `rnas.attacks.catalogue`.
      points: (radius in pixel units, score), by ascending radius.
    """

    attack: str
    points: tuple[tuple[float, Score], ...]

    @classmethod
    def from_fields(cls, fields: Fields) -> Curve:
        points = [(point.number("epsilon", 0.0), Score.from_fields(point)) for point in fields.each("points")]
        return cls(fields.text("attack"), tuple(sorted(points, key=lambda point: point[0])))

    def to_json(self) -> dict[str, Any]:
        points = [{"epsilon": epsilon, **score.to_json()} for epsilon, score in self.points]
        return {"attack": self.attack, "points": points}


def _score(fields: Fields) -> dict[str, Any]:
    return {
        "accuracy": fields.number("accuracy", 0.0, 1.0),
        "count": fields.whole("count"),
        "interval": fields.pair("interval"),
    }
