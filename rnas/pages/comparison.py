"""Several runs in one table, with every reason why two of them must not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

from rnas.pages import tables
from rnas.pages.attacks import read_suites, with_suites
from rnas.pages.markup import Markup, element
from rnas.pages.naming import method_label
from rnas.pages.parts import folded, note
from rnas.pages.quantity import duration, exact, norm_label
from rnas.pages.record import Record, read_record
from rnas.pages.scores import AUTO_ATTACK, HEADLINE_ATTACK, Results, Score, attack_label, read_results

_ATTACKS = ("pgd_20", HEADLINE_ATTACK, AUTO_ATTACK)
_SETTINGS = {  # of an attack, and their names here
    "step_size": "step",
    **{name: name for name in ("steps", "restarts", "start", "loss", "version")},
}
_TEXT = (
    "One row a run, this one first; figures are those of the network each run found. Radius and attacks are those of "
    "{first} where others were put to them too."
)


@dataclass(frozen=True)
class Run:
    """A run of the table: its name there, its files and what was measured."""

    name: str
    record: Record
    results: Results


def read_runs(workdirs: Sequence[Path]) -> list[Run]:
    """Reads work directories, finished or not; a name is as much of the path as tells it from the others.

    Raises:
        ValueError: a directory is given twice, holds no run, or one of its files is broken.
    """
    places = [workdir.resolve() for workdir in workdirs]
    if twice := sorted({str(place) for place in places if places.count(place) > 1}):
        raise ValueError(f"{', '.join(twice)} would stand in the comparison twice; give each work directory once")
    runs = []
    for name, workdir in zip(_names(places), workdirs, strict=True):
        record = read_record(workdir)
        suites, _ = read_suites(workdir, record.label)
        runs.append(Run(name, record, with_suites(read_results(record), suites)))
    return runs


def _names(places: Sequence[Path]) -> list[str]:
    longest = max(len(place.parts) for place in places)
    for length in range(1, longest + 1):
        names = ["/".join(place.parts[-length:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def comparison(runs: Sequence[Run]) -> list[Any]:
    """The section: the table, why figures in it must not be compared, and what the runs set differently."""
    if len(runs) < 2:
        return []
    first = _measure(runs)
    reasons = [obstacles(first, run) for run in runs]
    head = ["Run", "Method", "Seed", "\u03b5", "Parameters", "MACs", "Clean", *map(attack_label, _ATTACKS), "Search"]
    rows = [_row(first, run, said) for run, said in zip(runs, reasons, strict=True)]
    warned = [
        element("li", element("b", run.name), ": ", "; ".join(said), ".")
        for run, said in zip(runs, reasons, strict=True)
        if said
    ]
    return [
        element("p", _TEXT.format(first=first.name)),
        tables.table(head, rows, ["Runs", element("small", tables.UNITS)], "accuracy"),
        note(f"Not to be held against {first.name} as they stand.", element("ul", warned)) if warned else None,
        _settings(runs),
    ]


def _measure(runs: Sequence[Run]) -> Run:
    """The run that others are held against: the first that was evaluated, this one if it was."""
    return next((run for run in runs if "student" in run.results.models), runs[0])


def _row(first: Run, run: Run, reasons: Sequence[str]) -> list[Any]:
    record, student = run.record, run.results.models.get("student")
    epsilon, seed = _radius(first, run), record.setting("seed")
    images = student and student.clean and student.clean.count
    return [
        [run.name, element("small", "see below", class_="warned") if reasons else None],
        method_label(record.origin),
        tables.NONE if seed is None else str(seed),
        tables.NONE if epsilon is None else run.results.radius(epsilon),
        tables.count(record.architecture.get("params", student and student.params)),
        tables.count(record.architecture.get("macs", student and student.macs)),
        tables.accuracy(student and student.clean),
        *(tables.accuracy(_score(first, run, attack), images) for attack in _ATTACKS),
        _search_time(record),
    ]


def _search_time(record: Record) -> Any:
    """How long the search took, and on what; a dash where nothing was searched."""
    origin, seconds = record.origin or {}, record.run.get("stages", {}).get("search", {}).get("seconds")
    if seconds is None or "published" in origin or origin.get("method") == "random":
        return tables.NONE
    device, devices = record.run.get("device"), record.run.get("devices")
    return [duration(seconds), element("small", f"{devices} \u00d7 {device}") if device and devices else None]


def _radius(first: Run, run: Run) -> float | None:
    """The radius of the comparison where the run was attacked at it, else that of its own headline."""
    student = run.results.models.get("student")
    if student is not None and first.results.norm == run.results.norm and first.results.epsilon in student.attacks:
        return first.results.epsilon
    return run.results.epsilon


def _score(first: Run, run: Run, attack: str) -> Score | None:
    """What the network of a run keeps under an attack.

    Of variants (`pgd_20`, `pgd_20_2`) the one that `first` is judged by, its strongest, where the run has it.
    """
    student, epsilon = run.results.models.get("student"), _radius(first, run)
    group = student.attacks.get(epsilon, {}) if student else {}
    variants = [score for name, score in group.items() if attack_label(name) == attack_label(attack)]
    if run is not first and (own := _score(first, first, attack)):
        variants = [score for score in variants if not _other_settings(own, score)] or variants
    return min(variants, key=lambda score: score.accuracy, default=None)


def obstacles(first: Run, run: Run) -> list[str]:
    """Why the figures of a run must not be held against those of `first`; empty where nothing stands against it."""
    own, other = (one.results.models.get("student") for one in (first, run))
    if run is first or own is None:
        return []
    if other is None:
        return ["not evaluated yet"]
    said = _other_data(first.record.evaluation.get("dataset", {}), run.record.evaluation.get("dataset", {}))
    said += _other_count("test images", own.clean, other.clean)
    if first.results.norm != run.results.norm:
        said.append(f"{norm_label(run.results.norm)}, not {norm_label(first.results.norm)}")
    epsilon = _radius(first, run)
    if epsilon != first.results.epsilon:
        said.append(f"\u03b5 = {_in_words(run, epsilon)}, not {_in_words(first, first.results.epsilon)}")
        return said  # steps scale with the radius, so they need not be named as well
    for attack in _ATTACKS:
        scores = [_score(first, one, attack) for one in (first, run)]
        if None in scores:
            continue
        for name, (own_value, other_value) in _other_settings(*scores).items():
            values = [run.results.radius(value) if name == "step" else value for value in (other_value, own_value)]
            said.append(f"{attack_label(attack)} with {name} {values[0]}, not {values[1]}")
        if [score.count for score in scores] != [model.clean and model.clean.count for model in (own, other)]:
            said += _other_count(f"images under {attack_label(attack)}", *scores)
    return said


def _in_words(run: Run, epsilon: float | None) -> str:
    return "unknown" if epsilon is None else run.results.radius(epsilon)


def _other_data(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    if own.get("name") != other.get("name"):
        return [f"data {other.get('name', 'unknown')}, not {own.get('name', 'unknown')}"]
    if own.get("data_sha256") != other.get("data_sha256"):
        return [f"another state or part of the data {own.get('name', '')}".rstrip()]
    return []


def _other_count(what: str, own: Score | None, other: Score | None) -> list[str]:
    counts = [score and score.count for score in (other, own)]
    if counts[0] == counts[1]:
        return []
    given, expected = ("an unknown number of" if count is None else exact(count) for count in counts)
    return [f"{given} {what}, not {expected}"]


def _other_settings(own: Score, other: Score) -> dict[str, tuple[Any, Any]]:
    """Name -> (own, other) of what both record of an attack and do not agree in."""
    pairs = {name: (own.settings.get(key), other.settings.get(key)) for key, name in _SETTINGS.items()}
    return {name: pair for name, pair in pairs.items() if None not in pair and not _same(*pair)}


def _same(one: Any, other: Any) -> bool:
    """Equal, or equal but for the rounding of numbers."""
    numbers = isinstance(one, float) and isinstance(other, float)
    return math.isclose(one, other, rel_tol=1e-5) if numbers else one == other


def _settings(runs: Sequence[Run]) -> Markup | None:
    """The keys that the runs set differently, a column a run."""
    settings = [dict(tables.flat(run.record.config)) for run in runs]
    rows = [
        [key, *(tables.NONE if one.get(key) is None else element("code", one[key]) for one in settings)]
        for key in dict.fromkeys(key for one in settings for key in one)
        if len({one.get(key) for one in settings}) > 1
    ]
    return folded("Settings that differ", tables.table(["Key", *(run.name for run in runs)], rows)) if rows else None
