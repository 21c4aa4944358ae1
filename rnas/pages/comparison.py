"""Several runs in one table, with every reason why two of them must not be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnas.artifacts.evaluation import ModelScores
from rnas.artifacts.scores import AttackScore
from rnas.attacks.catalogue import AUTO_ATTACK, label_of
from rnas.pages.differences import families, shown
from rnas.pages.quantity import exact, norm_label
from rnas.pages.results import HEADLINE_ATTACK, Results, read_results
from rnas.pages.site import Fold
from rnas.pages.table import INTERVAL, UNIT, Cell, Table, accuracy, flat, seconds, short
from rnas.pages.workdir import Workdir, read_workdir

_ATTACKS = ("pgd_20", HEADLINE_ATTACK, AUTO_ATTACK)
_IMAGES, _RADIUS = "{} test images", "\u03b5 = {}"  # conditions of every run


@dataclass(frozen=True)
class Run:
    """A run of the table: its name there, its files and what was measured."""

    name: str
    workdir: Workdir
    results: Results

    @property
    def student(self) -> ModelScores | None:
        return self.results.student


def read_runs(workdirs: Sequence[Path]) -> list[Run]:
    """Reads work directories, finished or not; a name is as much of the path as tells it from the others.

    Raises:
        ValueError: a directory is given twice, holds no run, or one of its files is broken.
    """
    places = [workdir.resolve() for workdir in workdirs]
    if twice := sorted({str(place) for place in places if places.count(place) > 1}):
        raise ValueError(f"{', '.join(twice)} would stand in the comparison twice; give each work directory once")
    lengths = range(1, 1 + max(len(place.parts) for place in places))
    names = (["/".join(place.parts[-length:]) for place in places] for length in lengths)
    shortest = next(found for found in names if len(set(found)) == len(found))
    read = map(read_workdir, workdirs)
    return [Run(name, files, read_results(files)) for name, files in zip(shortest, read, strict=True)]


def comparison(runs: Sequence[Run], test: bool = True) -> dict[str, Any] | None:
    """What the section shows: the table, why figures in it must not be compared, and what the runs set differently.

    `test`: whether the networks are also compared image by image.
    """
    if len(runs) < 2:
        return None
    first = next((run for run in runs if run.student), runs[0])  # that others are compared with
    reasons = {run.name: found for run in runs if (found := obstacles(first, run))}
    alike = {run.name: [(run.results, "student")] for run in runs if run.student and run.name not in reasons}
    found = families(alike, first.name, [first.results.epsilon]) if test and len(alike) > 1 else []

    def size(name: str) -> Callable[[Run], Cell]:
        return lambda run: short(run.workdir.size.get(name, getattr(run.student, name, None)))

    def under(attack: str) -> Callable[[Run], Cell]:
        return lambda run: accuracy(_score(first, run, attack), run.student.clean.count if run.student else None)

    columns = {
        "Run": lambda run: Cell(run.name, "see below" if run.name in reasons else ""),
        "Method": lambda run: method(run.workdir),
        "Seed": lambda run: "" if run.workdir.setting("seed") is None else run.workdir.setting("seed"),
        "\u03b5": lambda run: run.results.radius(_radius(first, run)),
        "Parameters": size("params"),
        "MACs": size("macs"),
        "Clean": lambda run: accuracy(run.student and run.student.clean),
        **{label_of(attack): under(attack) for attack in _ATTACKS},
        "Search": lambda run: _search_time(run.workdir),
    }
    return {
        "first": first.name,
        "table": Table.of("runs", runs, columns, "Runs", UNIT, INTERVAL, "accuracy first"),
        "obstacles": reasons,
        "differences": shown(found, {name: name for name in alike}, first.name, first.results, "runs_differences"),
        "settings": Fold("Settings that differ", _settings(runs)),
    }


def obstacles(first: Run, run: Run) -> list[str]:
    """Why the figures of a run must not be compared with those of `first`; empty where nothing stands against it."""
    if run is first or first.student is None:
        return []
    if run.student is None:
        return ["not evaluated yet"]
    found = []
    data = [one.workdir.evaluation.dataset for one in (first, run)]
    if data[0].get("name") == data[1].get("name") and data[0].get("data_sha256") != data[1].get("data_sha256"):
        found.append(f"another state or part of the data {data[0].get('name', '')}".rstrip())
    ours, theirs = (_conditions(first, one) for one in (first, run))
    for words, value in theirs.items():
        own = ours.get(words)
        all_images = "images under" in words and own == ours[_IMAGES] and value == theirs[_IMAGES]
        if None in (own, value) or own == value or all_images:
            continue
        found.append(f"{words.format(value)}, not {own}")
        if words == _RADIUS:  # steps scale with it, so they need not be named as well
            break
    return found


def _conditions(first: Run, run: Run) -> dict[str, Any]:
    """How a run was measured: words with a gap -> what stands in it; None where it is not known."""
    results = run.results
    found = {
        "data {}": run.workdir.evaluation.dataset.get("name", "unknown"),
        _IMAGES: exact(run.student.clean.count),
        "{}": norm_label(results.norm),
        _RADIUS: results.radius(_radius(first, run)) or "unknown",
    }
    for attack in _ATTACKS:
        if score := _score(first, run, attack):
            label, settings = label_of(attack), score.settings
            found[f"{label} with step {{}}"] = results.radius(settings.get("step_size")) or None
            for name in ("steps", "restarts", "start", "loss", "version"):
                found[f"{label} with {name} {{}}"] = settings.get(name)
            found[f"{{}} images under {label}"] = exact(score.count)
    return found


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
    return seconds(run.stages["search"].seconds, f"{run.devices} \u00d7 {run.device}")


def _radius(first: Run, run: Run) -> float | None:
    """The radius of the comparison where the run was attacked at it, else that of its own headline."""
    epsilon = first.results.epsilon
    same = first.results.norm == run.results.norm
    return epsilon if same and run.results.at("student", epsilon) else run.results.epsilon


def _score(first: Run, run: Run, attack: str) -> AttackScore | None:
    """What the network of a run keeps under an attack."""
    return run.results.at("student", _radius(first, run)).get(attack)


def _settings(runs: Sequence[Run]) -> Table | None:
    """The keys that the runs set differently, a column a run."""
    settings = [flat(run.workdir.config) for run in runs]
    rows = [
        [key, *(Cell(one.get(key, ""), kind="code") for one in settings)]
        for key in dict.fromkeys(key for one in settings for key in one)
        if len({one.get(key) for one in settings}) > 1
    ]
    return Table("runs_settings", ["Key", *(run.name for run in runs)], rows) if rows else None
