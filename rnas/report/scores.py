"""What was measured of each model, and what in it asks for caution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
import re
from typing import Any

from rnas.report.quantity import number_of, percent, radius
from rnas.report.record import Record

HEADLINE_ATTACK = "pgd_100"
LABELS = {
    "student": "Student",
    "teacher": "Teacher",
    "twin_no_distillation": "Twin, no distillation",
    "twin_plain": "Twin, plain training",
}
_ATTACKS = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "mim": "MI-FGSM",
    "cw": "CW",
    "apgd": "APGD",
    "fab": "FAB",
    "square": "Square",
    "auto": "AutoAttack",
    "autoattack": "AutoAttack",
}


@dataclass(frozen=True)
class Score:
    """An accuracy in [0, 1], its 95 % interval and count (None: not recorded), and how it was measured."""

    accuracy: float
    count: int | None
    interval: tuple[float, float] | None
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Scores:
    """All that was measured of one model.

    Attributes:
        attacks: radius -> attack name -> score; the radius of the run's headline first, then ascending.
        curve: (radius, score), ascending.
    """

    name: str
    params: int | None
    macs: int | None
    clean: Score | None
    attacks: Mapping[float, Mapping[str, Score]]
    curve: tuple[tuple[float, Score], ...]

    @property
    def label(self) -> str:
        return LABELS.get(self.name, self.name)

    def at(self, epsilon: float | None, attack: str) -> Score | None:
        return self.attacks.get(epsilon, {}).get(attack)


@dataclass(frozen=True)
class Results:
    """An evaluation.

    Attributes:
        models: name -> scores: student, teacher, twins, then any other; what was not evaluated is absent.
        epsilon: the radius of the student's headline attack, else of its first; None before evaluation.
        norm: of every radius.
    """

    models: Mapping[str, Scores]
    epsilon: float | None
    norm: str

    def headline(self, name: str) -> Score | None:
        """The score of a model under the headline attack."""
        return self.models[name].at(self.epsilon, HEADLINE_ATTACK) if name in self.models else None

    def radius(self, value: Any) -> str:
        """A radius or step size in words."""
        return radius(value, self.norm)


def attack_label(name: str) -> str:
    """`pgd_100` -> PGD-100; unknown names as they are. A second number tells variants apart, not readers."""
    match = re.fullmatch(r"([a-z]+)(?:_(\d+))?(?:_\d+)?", name)
    if name == "auto_attack":
        return "AutoAttack"
    if match is None or match[1] not in _ATTACKS:
        return name
    return _ATTACKS[match[1]] + (f"-{match[2]}" if match[2] and match[1] not in ("mim", "cw") else "")


def read_results(record: Record) -> Results:
    """The scores of evaluation.json.

    Raises:
        ValueError: an accuracy is no number in [0, 1].
    """
    evaluation = record.evaluation
    entries = {name: dict(entry) for name, entry in evaluation.get("models", {}).items() if entry}
    if evaluation:
        # The file's top level is the student's own; `models` may repeat it.
        own = {key: value for key, value in evaluation.items() if key != "models"}
        counted = {key: record.architecture[key] for key in ("params", "macs") if key in record.architecture}
        entries["student"] = {**counted, **own, **entries.get("student", {})}
    order = [*(name for name in LABELS if name in entries), *(name for name in entries if name not in LABELS)]
    epsilon = _headline_epsilon(entries.get("student", {}))
    models = {name: _scores(name, entries[name], epsilon) for name in order}
    return Results(models, epsilon, str(evaluation.get("threat_model", "linf")))


def _headline_epsilon(student: Mapping[str, Any]) -> float | None:
    attacks = [student.get(HEADLINE_ATTACK), *student.values()]
    radii = [entry["epsilon"] for entry in attacks if _is_measurement(entry) and "epsilon" in entry]
    return _key(radii[0]) if radii else None


def _key(epsilon: Any) -> float:
    """Radii as dictionary keys: 8/255 written as a fraction and as a float32 are one radius."""
    return round(number_of(epsilon), 7)


def _scores(name: str, entry: Mapping[str, Any], first: float | None) -> Scores:
    attacks: dict[float, dict[str, Score]] = {}
    for key, value in entry.items():
        if _is_measurement(value) and "epsilon" in value:
            attacks.setdefault(_key(value["epsilon"]), {})[key] = _score(value, f"{name}, {key}")
    for epsilon, group in entry.get("epsilons", {}).items():
        for key, value in group.items():
            if _is_measurement(value) and key != "clean":
                attacks.setdefault(_key(epsilon), {})[key] = _score(value, f"{name}, {key} at {epsilon}")
    clean = entry.get("clean")
    points = [(_key(point["epsilon"]), _score(point, f"{name}, curve")) for point in entry.get("curve", [])]
    return Scores(
        name=name,
        params=entry.get("params"),
        macs=entry.get("macs"),
        clean=_score(clean, f"{name}, clean") if _is_measurement(clean) else None,
        attacks=dict(sorted(attacks.items(), key=lambda item: (item[0] != first, item[0]))),
        curve=tuple(sorted(points, key=lambda point: point[0])),
    )


def _is_measurement(value: Any) -> bool:
    return isinstance(value, Mapping) and "accuracy" in value


def _score(entry: Mapping[str, Any], place: str) -> Score:
    accuracy = entry["accuracy"]
    if not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
        raise ValueError(f"evaluation.json ({place}): accuracy {accuracy!r}, expected a number in [0, 1]")
    interval = entry.get("interval")
    return Score(float(accuracy), entry.get("count"), tuple(interval) if interval else None, entry)


def cautions(record: Record, results: Results) -> list[str]:
    """What a reader must know before believing the figures; empty when nothing was noticed."""
    notes = []
    if record.setting("data.held_out") == 0:
        notes.append(
            "No model choice: no training images were held out (data.held_out is 0), so nothing but the test "
            "set could have chosen between models."
        )
    for model in results.models.values():
        for epsilon, attacks in model.attacks.items():
            notes += _attack_notes(model, attacks, results.radius(epsilon))
        notes += _curve_notes(model, results)
    return notes + [str(warning) for warning in record.evaluation.get("warnings", [])]


def _attack_notes(model: Scores, attacks: Mapping[str, Score], epsilon: str) -> list[str]:
    """More effort must not find less than one step does, by more than 0.2 points."""
    one_step, long = attacks.get("fgsm"), attacks.get(HEADLINE_ATTACK)
    if one_step is None or long is None or long.accuracy - one_step.accuracy <= 0.002:
        return []
    return [
        f"{model.label}, \u03b5 = {epsilon}: one step (FGSM, {percent(one_step.accuracy)}) finds more than a "
        f"hundred (PGD-100, {percent(long.accuracy)}), which may be a sign of masked gradients."
    ]


def _curve_notes(model: Scores, results: Results) -> list[str]:
    """A larger ball cannot be safer, by more than 0.5 points, and a ball of radius 0 is the clean image."""
    notes = [
        f"{model.label}: accuracy rises from {percent(before.accuracy)} at \u03b5 = {results.radius(low)} to "
        f"{percent(after.accuracy)} at {results.radius(high)}; a larger ball cannot be safer, the attack is "
        "weak there."
        for (low, before), (high, after) in pairwise(model.curve)
        if after.accuracy - before.accuracy > 0.005
    ]
    start = next((score for epsilon, score in model.curve if epsilon == 0), None)
    if start and model.clean and abs(start.accuracy - model.clean.accuracy) > 1e-6:
        notes.append(
            f"{model.label}: the curve starts at {percent(start.accuracy)}, yet clean accuracy is "
            f"{percent(model.clean.accuracy)}; at \u03b5 = 0 they must agree."
        )
    return notes
