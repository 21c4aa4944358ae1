"""What the attack suite left in `attacks/`, one folder an evaluation, read once and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnas.pages.naming import model_label, model_order
from rnas.pages.quantity import norm_label, number_of, percent
from rnas.pages.record import read_arrays, read_object
from rnas.pages.scores import AUTO_ATTACK, Results, Score, Scores, attack_label, radius_key, read_score

FORMAT = 2
STATUSES = ("passed", "warning", "failed", "skipped")
_VERBS = {"failed": "failed", "warning": "warns"}
_EXAMPLES = ("label", "clean_prediction", "adversarial_prediction", "distance_linf", "distance_l2", "distance_l1")
_IMAGES = ("row", "images", "clean")
_OPTIONAL = {  # objects the page shows where they were recorded, and the numbers it expects in them
    "model": ("params", "num_classes"),
    "dataset": ("count", "first"),
    "uint8": ("fooled", "still_fooling", "outside_ball"),
    "curve": (),
    "cost": ("forward_seconds", "estimated_forwards", "forwards", "compilations"),
    "versions": (),
}


@dataclass(frozen=True)
class Stage:
    """One attack of an evaluation, on what its predecessors left.

    Attributes:
        attacked, fooled: examples.
        cumulative: what is still classified correctly after it, of all examples.
        alone: what would be after it alone; None where it was not measured.
        entry: all that was recorded, `settings`, `seconds` and `queries` among it.
    """

    name: str
    attacked: int
    fooled: int
    cumulative: Score
    alone: Score | None
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """A sanity check: its letter and name, one of `STATUSES`, what it measured and what to do about it."""

    letter: str
    name: str
    status: str
    figure: str
    advice: str


@dataclass(frozen=True)
class Suite:
    """An evaluation of one model under one threat.

    Attributes:
        folder: name of the folder it was read from.
        summary: the object of attack.json; of an unfinished evaluation only this and `folder` tell anything.
        model, attack, version, norm: names; `version` is "" where the attack has none.
        label: the model, as the page calls it.
        epsilon, radius: as a number and as it was written.
        clean, robust: accuracy without attack, and in the worst case over all attacks.
        curve: (radius, accuracy), ascending, each radius attacked on its own.
        transfer: (source, model there, accuracy) of adversarial images made for other models.
        examples: per-example arrays [N]; empty where `examples.npz` does not exist.
        adversarial: `row` [M] into `examples`, `images` and `clean` [M, H, W, C]; empty where there are none.
    """

    folder: str
    summary: Mapping[str, Any]
    model: str
    label: str
    attack: str
    version: str
    norm: str
    epsilon: float
    radius: str
    clean: Score
    robust: Score
    stages: tuple[Stage, ...]
    checks: tuple[Check, ...]
    curve: tuple[tuple[float, Score], ...]
    transfer: tuple[tuple[str, str, Score], ...]
    examples: Mapping[str, np.ndarray]
    adversarial: Mapping[str, np.ndarray]

    @property
    def threat(self) -> str:
        """Norm and radius in words."""
        return f"{norm_label(self.norm)} \u03b5 = {self.radius}"

    @property
    def under(self) -> str:
        """The attack and its version in words."""
        return f"{attack_label(self.attack)} {self.version}".rstrip()


def read_suites(workdir: Path, label: Callable[[str], str] = model_label) -> tuple[list[Suite], list[str]]:
    """All evaluations under `workdir/attacks`: the student's first, smaller radii before larger ones.

    Args:
        label: what the page calls a model.

    Returns:
        (finished evaluations, names of the folders of unfinished ones).

    Raises:
        ValueError: a file is not what it should be; the message names it.
    """
    suites, unfinished = [], []
    for folder in sorted(path for path in workdir.glob("attacks/*") if path.is_dir()):
        suite = read_suite(folder, label)
        if suite is None:
            unfinished.append(folder.name)
        else:
            suites.append(suite)
    suites.sort(key=lambda suite: (model_order(suite.model), suite.norm, suite.epsilon))
    return suites, unfinished


def read_suite(folder: Path, label: Callable[[str], str] = model_label) -> Suite | None:
    """The evaluation of one folder; None while it is unfinished.

    Raises:
        ValueError: a file is not what it should be; the message names it.
    """
    path = folder / "attack.json"
    summary = read_object(path)
    if not summary:
        return None
    if summary.get("format") != FORMAT:
        raise ValueError(f"{path}: format is {summary.get('format')!r}, expected {FORMAT}; evaluate again")
    threat = _field(summary, "threat", dict, path)
    epsilon = number_of(_field(threat, "epsilon", (int, float), path))
    for name, numbers in _OPTIONAL.items():
        if summary.get(name) is not None:
            _check_numbers(_field(summary, name, dict, path), numbers, f"{path} ({name})")
    if summary.get("warnings"):
        _field(summary, "warnings", list, path)
    points = [
        (radius_key(_field(point, "epsilon", (int, float), path)), _score(point, f"{path} (curve)"))
        for point in _objects(summary.get("curve") or {}, "points", path)
    ]
    examples = read_arrays(folder / "examples.npz", _EXAMPLES)
    model = _field(_field(summary, "model", dict, path), "name", str, path)
    return Suite(
        folder=folder.name,
        summary=summary,
        model=model,
        label=label(model),
        attack=_field(summary, "attack", str, path),
        version=summary.get("version") or "",
        norm=_field(threat, "norm", str, path).lower(),
        epsilon=epsilon,
        radius=str(threat.get("epsilon_text") or f"{epsilon:.4g}"),
        clean=_score(_field(summary, "clean", dict, path), f"{path} (clean)"),
        robust=_score(_field(summary, "robust", dict, path), f"{path} (robust)"),
        stages=tuple(_stage(entry, path) for entry in _objects(summary, "attacks", path)),
        checks=tuple(_check(entry, path) for entry in _objects(summary, "checks", path)),
        curve=tuple(sorted(points, key=lambda point: point[0])),
        transfer=tuple(
            (_field(entry, "source", str, path), str(entry.get("model") or ""), _score(entry, f"{path} (transfer)"))
            for entry in _objects(summary, "transfer", path)
        ),
        examples=_equally_long(examples, folder / "examples.npz"),
        adversarial=_images(folder / "adversarial.npz", examples),
    )


def _field(entry: Mapping[str, Any], name: str, kind: type | tuple[type, ...], path: Path) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(one.__name__ for one in kinds)
        raise ValueError(f"{path}: {name} is {value!r}, expected {expected}; evaluate again or restore the file")
    return value


def _objects(entry: Mapping[str, Any], name: str, path: Path) -> Sequence[Any]:
    """The list of objects `name`; empty where there is none."""
    objects = _field(entry, name, list, path) if entry.get(name) else []
    if not all(isinstance(one, Mapping) for one in objects):
        raise ValueError(f"{path}: {name} holds something else than objects; evaluate again or restore the file")
    return objects


def _check_numbers(entry: Mapping[str, Any], names: Iterable[str], place: str) -> None:
    for name in names:
        if not isinstance(entry.get(name), int | float | None):
            raise ValueError(f"{place}: {name} is {entry[name]!r}, expected a number")


def _score(entry: Mapping[str, Any], place: str) -> Score:
    if "accuracy" not in entry:
        raise ValueError(f"{place} lacks accuracy")
    return read_score(entry, place)


def _stage(entry: Mapping[str, Any], path: Path) -> Stage:
    name = _field(entry, "name", str, path)
    attacked, fooled = (_field(entry, key, int, path) for key in ("attacked", "fooled"))
    if not 0 <= fooled <= attacked:
        raise ValueError(f"{path} ({name}): {fooled} fooled of {attacked} attacked examples, expected 0 to {attacked}")
    _check_numbers(entry, ("seconds", "queries"), f"{path} ({name})")
    if entry.get("settings"):
        _field(entry, "settings", dict, path)
    return Stage(
        name,
        attacked,
        fooled,
        _score(_field(entry, "cumulative", dict, path), f"{path} ({name}, cumulative)"),
        _score(entry["alone"], f"{path} ({name}, alone)") if entry.get("alone") else None,
        entry,
    )


def _check(entry: Mapping[str, Any], path: Path) -> Check:
    letter, name = (_field(entry, key, str, path) for key in ("letter", "name"))
    if entry.get("status") not in STATUSES:
        raise ValueError(
            f"{path} (check {letter}): status {entry.get('status')!r}, expected one of {', '.join(STATUSES)}"
        )
    return Check(letter, name, entry["status"], str(entry.get("figure") or ""), str(entry.get("advice") or ""))


def _equally_long(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"{path}: shapes {shapes}, expected one value for each example in every array")
    return arrays


def _images(path: Path, examples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays = read_arrays(path, _IMAGES)
    if not arrays:
        return arrays
    rows, images, clean = (arrays[name] for name in _IMAGES)
    if images.ndim != 4 or clean.shape != images.shape or rows.shape != images.shape[:1]:
        raise ValueError(
            f"{path}: row {rows.shape}, images {images.shape} and clean {clean.shape}, "
            "expected [n] and twice [n, height, width, channels]"
        )
    count = len(examples["label"]) if examples else None
    if count is not None and len(rows) and not 0 <= rows.min() <= rows.max() < count:
        raise ValueError(f"{path}: rows {rows.min()} to {rows.max()}, but examples.npz holds {count} examples")
    return arrays


def with_suites(results: Results, suites: Iterable[Suite]) -> Results:
    """The results with AutoAttack beside their own attacks, where model, examples, norm and radius agree."""
    models = dict(results.models)
    for suite in suites:
        model, radius = models.get(suite.model), radius_key(suite.epsilon)
        if not _belongs(suite, model, results.norm) or not _same_clean(suite, model) or radius not in model.attacks:
            continue
        score = replace(suite.robust, settings={"version": suite.version})
        known = model.at(radius, AUTO_ATTACK)
        if known is None or score.accuracy < known.accuracy:
            group = {**model.attacks[radius], AUTO_ATTACK: score}
            models[model.name] = replace(model, attacks={**model.attacks, radius: group})
    return replace(results, models=models)


def _belongs(suite: Suite, model: Scores | None, norm: str) -> bool:
    """Whether an evaluation says it attacked what the results are about."""
    return (
        suite.attack == AUTO_ATTACK
        and model is not None
        and model.clean is not None
        and suite.norm == norm.lower()
        and suite.clean.count == model.clean.count
    )


def _same_clean(suite: Suite, model: Scores) -> bool:
    """Two passes over the same images may differ by rounding: by an example, or by half a point."""
    return abs(suite.clean.accuracy - model.clean.accuracy) <= max(0.005, 1.5 / max(1, suite.clean.count or 1))


def suite_cautions(suites: Iterable[Suite], results: Results | None = None) -> list[str]:
    """Failed checks, warnings, and evaluations that contradict the run's own; empty when nothing was noticed."""
    notes = []
    for suite in suites:
        said = [_complaint(check) for check in suite.checks if check.status in ("failed", "warning")]
        said += map(str, suite.summary.get("warnings") or [])
        model = results.models.get(suite.model) if results else None
        if results and _belongs(suite, model, results.norm) and not _same_clean(suite, model):
            said.append(
                f"clean accuracy is {percent(suite.clean.accuracy)} here and {percent(model.clean.accuracy)} in the "
                "run's evaluation, so it was not of the same model and images and is left out of the tables."
            )
        notes += [
            f"{suite.label}, {attack_label(suite.attack)}, {suite.threat}: {words}" for words in dict.fromkeys(said)
        ]
    return notes


def _complaint(check: Check) -> str:
    told = ". ".join(words.rstrip(".") for words in (check.figure, check.advice) if words)
    return f"check {check.letter} ({check.name}) {_VERBS[check.status]}" + (f": {told}." if told else ".")
