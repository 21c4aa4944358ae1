"""What was measured of each model, and what in it asks for caution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
import statistics
from typing import Any, NamedTuple

from rnas.attacks.catalogue import label_of as attack_label  # noqa: F401
from rnas.pages.cells import collapsed
from rnas.pages.naming import is_random, model_order
from rnas.pages.quantity import number_of, percent, radius
from rnas.pages.record import Record

HEADLINE_ATTACK = "pgd_100"
AUTO_ATTACK = "auto_attack"  # where a model was put to it, the one number


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
        label: what tables and legends call it.
        attacks: radius -> attack name -> score; the radius of the run's headline first, then ascending.
        curve: (radius, score), ascending.
    """

    name: str
    label: str
    params: int | None
    macs: int | None
    clean: Score | None
    attacks: Mapping[float, Mapping[str, Score]]
    curve: tuple[tuple[float, Score], ...]

    def at(self, epsilon: float | None, attack: str) -> Score | None:
        return self.attacks.get(epsilon, {}).get(attack)


@dataclass(frozen=True)
class Results:
    """An evaluation.

    Attributes:
        models: name -> scores: student, teacher, baselines, published cells, random ones; what was not evaluated is
            absent.
        epsilon: the radius of the student's headline attack, else of its first; None before evaluation.
        norm: of every radius.
    """

    models: Mapping[str, Scores]
    epsilon: float | None
    norm: str

    @property
    def attack(self) -> str:
        """The attack of the headline: AutoAttack where the student was put to it, else PGD-100."""
        return AUTO_ATTACK if self.headline("student", AUTO_ATTACK) else HEADLINE_ATTACK

    def headline(self, name: str, attack: str | None = None) -> Score | None:
        """The score of a model at the radius of the headline, under `attack` (None: the headline's)."""
        return self.models[name].at(self.epsilon, attack or self.attack) if name in self.models else None

    @property
    def random(self) -> list[Scores]:
        """The networks with random cells: what a search for cells has to beat."""
        return [model for model in self.models.values() if is_random(model.name)]

    def comparable(self, others: Iterable[str]) -> str:
        """The attack to compare the student with others by: the headline's if all were put to it on as many images.

        Else PGD-100; models that were not put to that either do not count.
        """
        there = [name for name in ("student", *others) if self.headline(name, HEADLINE_ATTACK)]
        scores = [self.headline(name) for name in there]
        alike = None not in scores and len({score.count for score in scores}) == 1
        return self.attack if alike else HEADLINE_ATTACK

    def radius(self, value: Any) -> str:
        """A radius or step size in words."""
        return radius(value, self.norm)


class Spread(NamedTuple):
    """Mean and range of several values, and their standard deviation (of a sample; None of a single one)."""

    mean: float
    deviation: float | None
    low: float
    high: float
    count: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """The spread of values; None where there are none, or one is not known."""
    known = list(values)
    if not known or None in known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), deviation, min(known), max(known), len(known))


def accuracy_of(score: Score | None) -> float | None:
    """The accuracy, None where nothing was measured."""
    return None if score is None else score.accuracy


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
    epsilon = _headline_epsilon(entries.get("student", {}))
    models = {
        name: _scores(name, record.label(name), entries[name], epsilon) for name in sorted(entries, key=model_order)
    }
    return Results(models, epsilon, str(evaluation.get("threat_model", "linf")))


def _headline_epsilon(student: Mapping[str, Any]) -> float | None:
    attacks = [student.get(HEADLINE_ATTACK), *student.values()]
    radii = [entry["epsilon"] for entry in attacks if _is_measurement(entry) and "epsilon" in entry]
    return radius_key(radii[0]) if radii else None


def radius_key(epsilon: Any) -> float:
    """Radii as dictionary keys: 8/255 written as a fraction and as a float32 are one radius."""
    return round(number_of(epsilon), 7)


def _scores(name: str, label: str, entry: Mapping[str, Any], first: float | None) -> Scores:
    def score(measured: Mapping[str, Any], place: str) -> Score:
        return read_score(measured, f"evaluation.json ({name}, {place})")

    attacks: dict[float, dict[str, Score]] = {}
    for key, value in entry.items():
        if _is_measurement(value) and "epsilon" in value:
            attacks.setdefault(radius_key(value["epsilon"]), {})[key] = score(value, key)
    for epsilon, group in entry.get("epsilons", {}).items():
        for key, value in group.items():
            if _is_measurement(value) and key != "clean":
                attacks.setdefault(radius_key(epsilon), {})[key] = score(value, f"{key} at {epsilon}")
    clean = entry.get("clean")
    curve = (entry.get("curve") or {}).get("points", [])
    points = [(radius_key(point["epsilon"]), score(point, "curve")) for point in curve]
    return Scores(
        name=name,
        label=label,
        params=entry.get("params"),
        macs=entry.get("macs"),
        clean=score(clean, "clean") if _is_measurement(clean) else None,
        attacks=dict(sorted(attacks.items(), key=lambda item: (item[0] != first, item[0]))),
        curve=tuple(sorted(points, key=lambda point: point[0])),
    )


def _is_measurement(value: Any) -> bool:
    return isinstance(value, Mapping) and "accuracy" in value


def read_score(entry: Mapping[str, Any], place: str) -> Score:
    """One measurement: `accuracy`, and `count` and `interval` where they were recorded.

    Raises:
        ValueError: the accuracy is no number in [0, 1] or the interval no pair; the message starts with `place`.
    """
    accuracy, interval = entry["accuracy"], entry.get("interval")
    if not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
        raise ValueError(f"{place}: accuracy {accuracy!r}, expected a number in [0, 1]")
    if interval is not None and (
        not isinstance(interval, list) or [isinstance(end, int | float) for end in interval] != [True, True]
    ):
        raise ValueError(f"{place}: interval {interval!r}, expected two numbers")
    return Score(float(accuracy), entry.get("count"), tuple(interval) if interval else None, entry)


def cautions(record: Record, results: Results) -> list[str]:
    """What a reader must know before believing the figures; empty when nothing was noticed."""
    notes = []
    if record.setting("data.held_out") == 0:
        notes.append(
            "No model choice: no training images were held out (data.held_out is 0), so nothing but the test "
            "set could have chosen between models."
        )
    for kind, edges in record.cells.items():
        if weightless := collapsed(edges):
            of = "" if kind == "cell" else f"{kind} "
            notes.append(
                f"The {of}cell has collapsed: {weightless} of its {len(edges)} operations are pools or skips, so "
                "little is left in it to learn."
            )
    for model in results.models.values():
        for epsilon, attacks in model.attacks.items():
            notes += _attack_notes(model, attacks, results.radius(epsilon))
        notes += _curve_notes(model, results)
    return notes + [str(warning) for warning in record.evaluation.get("warnings", [])]


def _attack_notes(model: Scores, attacks: Mapping[str, Score], epsilon: str) -> list[str]:
    """More effort must not find less than a weaker attack does, by more than 0.2 points."""
    one_step, long, auto = (attacks.get(name) for name in ("fgsm", HEADLINE_ATTACK, AUTO_ATTACK))
    notes = []
    if one_step and long and long.accuracy - one_step.accuracy > 0.002:
        notes.append(
            f"{model.label}, \u03b5 = {epsilon}: one step (FGSM, {percent(one_step.accuracy)}) finds more than a "
            f"hundred (PGD-100, {percent(long.accuracy)}), which may be a sign of masked gradients."
        )
    if long and auto and long.count == auto.count and auto.accuracy - long.accuracy > 0.002:
        notes.append(
            f"{model.label}, \u03b5 = {epsilon}: PGD-100 ({percent(long.accuracy)}) finds more than AutoAttack "
            f"({percent(auto.accuracy)}); the lower figure holds."
        )
    return notes


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
