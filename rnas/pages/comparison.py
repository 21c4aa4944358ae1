"""Several runs in one table, with every reason why two of them must not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

from rnas.artifacts.scores import AttackScore, Score
from rnas.attacks.catalogue import AUTO_ATTACK, label_of
from rnas.pages.quantity import duration, exact, norm_label
from rnas.pages.results import HEADLINE_ATTACK, Results, read_results
from rnas.pages.site import Fold
from rnas.pages.table import INTERVAL, UNIT, Cell, Table, accuracy, flat, short
from rnas.pages.workdir import Workdir, read_workdir

_ATTACKS = ("pgd_20", HEADLINE_ATTACK, AUTO_ATTACK)
_SETTINGS = {  # of an attack, and their names here
    "step_size": "step",
    **{name: name for name in ("steps", "restarts", "start", "loss", "version")},
}


@dataclass(frozen=True)
class Run:
    """A run of the table: its name there, its files and what was measured."""

    name: str
    workdir: Workdir
    results: Results


def read_runs(workdirs: Sequence[Path]) -> list[Run]:
    """Reads work directories, finished or not; a name is as much of the path as tells it from the others.

    Raises:
        ValueError: a directory is given twice, holds no run, or one of its files is broken.
    """
    places = [workdir.resolve() for workdir in workdirs]
    if twice := sorted({str(place) for place in places if places.count(place) > 1}):
        raise ValueError(f"{', '.join(twice)} would stand in the comparison twice; give each work directory once")
    found = [read_workdir(workdir) for workdir in workdirs]
    return [Run(name, files, read_results(files)) for name, files in zip(_names(places), found, strict=True)]


def comparison(runs: Sequence[Run]) -> dict[str, Any] | None:
    """What the section shows: the table, why figures in it must not be compared, and what the runs set differently."""
    if len(runs) < 2:
        return None
    first = next((run for run in runs if run.results.student), runs[0])  # that others are compared with
    reasons = {run.name: obstacles(first, run) for run in runs}
    columns = ["Run", "Method", "Seed", "\u03b5", "Parameters", "MACs", "Clean", *map(label_of, _ATTACKS), "Search"]
    rows = [_row(first, run, bool(reasons[run.name])) for run in runs]
    return {
        "first": first.name,
        "table": Table("runs", columns, rows, "Runs", UNIT, INTERVAL, "accuracy first"),
        "obstacles": {name: found for name, found in reasons.items() if found},
        "settings": Fold("Settings that differ", _settings(runs)),
    }


def obstacles(first: Run, run: Run) -> list[str]:
    """Why the figures of a run must not be compared with those of `first`; empty where nothing stands against it."""
    own, other = first.results.student, run.results.student
    if run is first or own is None:
        return []
    if other is None:
        return ["not evaluated yet"]
    found = _other_data(first.workdir.evaluation.dataset, run.workdir.evaluation.dataset)
    found += _other_count("test images", own.clean, other.clean)
    if first.results.norm != run.results.norm:
        found.append(f"{norm_label(run.results.norm)}, not {norm_label(first.results.norm)}")
    epsilon = _radius(first, run)
    if epsilon != first.results.epsilon:
        found.append(f"\u03b5 = {_in_words(run, epsilon)}, not {_in_words(first, first.results.epsilon)}")
        return found  # steps scale with the radius, so they need not be named as well
    for attack in _ATTACKS:
        scores = [_score(first, one, attack) for one in (first, run)]
        if None in scores:
            continue
        for name, (own_value, other_value) in _other_settings(*scores).items():
            values = [run.results.radius(value) if name == "step" else value for value in (other_value, own_value)]
            found.append(f"{label_of(attack)} with {name} {values[0]}, not {values[1]}")
        if [score.count for score in scores] != [model.clean.count for model in (own, other)]:
            found += _other_count(f"images under {label_of(attack)}", *scores)
    return found


def _names(places: Sequence[Path]) -> list[str]:
    longest = max(len(place.parts) for place in places)
    for length in range(1, longest + 1):
        names = ["/".join(place.parts[-length:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def _row(first: Run, run: Run, obstructed: bool) -> list[Any]:
    files, student = run.workdir, run.results.student
    epsilon, seed = _radius(first, run), files.setting("seed")
    clean = student.clean if student else None
    return [
        Cell(run.name, "see below" if obstructed else ""),
        method(files),
        "" if seed is None else str(seed),
        "" if epsilon is None else run.results.radius(epsilon),
        *(short(files.size.get(size, getattr(student, size, None))) for size in ("params", "macs")),
        accuracy(clean),
        *(accuracy(_score(first, run, attack), clean.count if clean else None) for attack in _ATTACKS),
        _search_time(files),
    ]


def method(files: Workdir) -> str:
    """How a run came to its network: the search by its name in the configuration, or the name of published cells."""
    origin = files.origin
    if origin is None:
        return "RNAS-CL"
    return f"published cells: {origin['published']}" if "published" in origin else origin.get("method", "")


def _search_time(files: Workdir) -> Cell:
    """How long the search took, and on what; a dash where nothing was searched."""
    origin, run = files.origin or {}, files.run
    if run is None or "search" not in run.stages or "published" in origin or origin.get("method") == "random":
        return Cell()
    seconds = run.stages["search"].seconds
    return Cell(duration(seconds), f"{run.devices} \u00d7 {run.device}", seconds)


def _radius(first: Run, run: Run) -> float | None:
    """The radius of the comparison where the run was attacked at it, else that of its own headline."""
    epsilon = first.results.epsilon
    same = first.results.norm == run.results.norm
    return epsilon if same and run.results.at("student", epsilon) else run.results.epsilon


def _score(first: Run, run: Run, attack: str) -> AttackScore | None:
    """What the network of a run keeps under an attack."""
    return run.results.at("student", _radius(first, run)).get(attack)


def _in_words(run: Run, epsilon: float | None) -> str:
    return "unknown" if epsilon is None else run.results.radius(epsilon)


def _other_data(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    if own.get("name") != other.get("name"):
        return [f"data {other.get('name', 'unknown')}, not {own.get('name', 'unknown')}"]
    if own.get("data_sha256") != other.get("data_sha256"):
        return [f"another state or part of the data {own.get('name', '')}".rstrip()]
    return []


def _other_count(what: str, own: Score, other: Score) -> list[str]:
    return [] if own.count == other.count else [f"{exact(other.count)} {what}, not {exact(own.count)}"]


def _other_settings(own: AttackScore, other: AttackScore) -> dict[str, tuple[Any, Any]]:
    """Name -> (own, other) of what both record of an attack and do not agree in."""
    pairs = {name: (own.settings.get(key), other.settings.get(key)) for key, name in _SETTINGS.items()}
    return {name: pair for name, pair in pairs.items() if None not in pair and not _same(*pair)}


def _same(one: Any, other: Any) -> bool:
    """Equal, or equal but for the rounding of numbers."""
    numbers = isinstance(one, float) and isinstance(other, float)
    return math.isclose(one, other, rel_tol=1e-5) if numbers else one == other


def _settings(runs: Sequence[Run]) -> Table | None:
    """The keys that the runs set differently, a column a run."""
    settings = [flat(run.workdir.config) for run in runs]
    rows = [
        [key, *(Cell(one.get(key, ""), kind="code") for one in settings)]
        for key in dict.fromkeys(key for one in settings for key in one)
        if len({one.get(key) for one in settings}) > 1
    ]
    return Table("runs_settings", ["Key", *(run.name for run in runs)], rows) if rows else None
