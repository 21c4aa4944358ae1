"""The page of several seeds of one run: every model's spread over them, and which differences are more than chance."""

from __future__ import annotations

from collections.abc import Sequence
import glob
import os
from pathlib import Path
from typing import Any

from rnas.attacks.catalogue import label_of
from rnas.pages.comparison import Run, comparison, obstacles, read_runs
from rnas.pages.differences import ATTACKS, baselines, families, shown
from rnas.pages.quantity import decimals, percent
from rnas.pages.results import HEADLINE_ATTACK, by_radius, spread
from rnas.pages.site import publish, say, sections
from rnas.pages.table import DASH, UNIT, Cell, Table, share
from rnas.pages.workdir import numbered


def write_seeds_page(pattern: str) -> Path:
    """Writes `seeds.html`, and its tables under `seeds/`, in the folder that holds the runs; returns its path.

    Args:
        pattern: of the runs' work directories, such as 'runs/s7/seed_*'.

    Raises:
        ValueError: fewer than two runs match that can be compared, or a file cannot be read.
        OSError: a file could not be written.
    """
    workdirs = sorted(filter(Path.is_dir, map(Path, glob.glob(pattern))), key=lambda path: (numbered(path.name), path))
    if len(workdirs) < 2:
        found = ", ".join(map(str, workdirs)) or "none"
        raise ValueError(f"--seeds={pattern}: expected two work directories or more, found {found}.")
    context = seeds_context(workdirs)
    folder = Path(os.path.commonpath([workdir.resolve().parent for workdir in workdirs]))
    return publish(folder / "seeds.html", "seeds.html", context)


def seeds_context(workdirs: Sequence[Path]) -> dict[str, Any]:
    """The context of the page; raises ValueError as `write_seeds_page`."""
    runs = read_runs(workdirs)
    beside = comparison(runs, test=False)
    first = next(run for run in runs if run.name == beside["first"])
    kept: dict[Any, Run] = {}
    for run in runs:
        if run.student and not obstacles(first, run):
            seed = run.workdir.setting("seed")
            if seed in kept:
                raise ValueError(f"{kept[seed].name} and {run.name} have the same seed, {seed}: they are one sample.")
            kept[seed] = run
    if len(kept) < 2:
        reasons = "; ".join(f"{name}: {', '.join(why)}" for name, why in beside["obstacles"].items())
        raise ValueError(f"fewer than two runs can be compared: {reasons or 'none is evaluated yet'}.")
    seeds = list(kept.values())
    results = first.results
    arms = {name: [(run.results, name) for run in seeds] for name in results.models if _everywhere(name, seeds)}
    labels = {name: results.models[name].label for name in arms}
    judged = {name: arms[name] for name in ("student", *baselines(results)) if name in arms}
    radii, noun = list(by_radius(results.student)), first.workdir.noun
    scores = {attack: [run.results.at("student", results.epsilon).get(attack) for run in seeds] for attack in ATTACKS}
    attack = next((attack for attack, of_seeds in scores.items() if all(of_seeds)), HEADLINE_ATTACK)
    kept_accuracy = spread(score.accuracy if score else None for score in scores[attack])
    found = families(judged, "student", radii) if len(judged) > 1 else []
    changed = [row[0].text for row in beside["settings"].content.rows] if beside["settings"].content else []
    return {
        "title": say("seeds_title", noun, len(seeds), attack, results.radius(results.epsilon), kept_accuracy),
        "eyebrow": say("run_eyebrow", first.workdir, ""),
        "seeds": list(kept),
        "also_changed": [key for key in changed if key != "seed"],
        "sections": sections(
            models=("Models", [_table(seeds, labels, epsilon) for epsilon in radii or [None]]),
            differences=("Differences", shown(found, labels, noun.capitalize(), results)),
            runs=("Runs", beside),
        ),
    }


def _everywhere(name: str, seeds: Sequence[Run]) -> bool:
    return all(name in run.results.models for run in seeds)


def _table(seeds: Sequence[Run], labels: dict[str, str], epsilon: float | None) -> Table:
    """A row per model: mean over the seeds, below it standard deviation and range."""
    results = seeds[0].results
    attacks = list(results.at("student", epsilon))

    def cell(name: str, attack: str | None) -> Cell:
        scores = [
            run.results.at(name, epsilon).get(attack) if attack else run.results.models[name].clean for run in seeds
        ]
        if (found := spread(score.accuracy if score else None for score in scores)) is None:
            return Cell()
        places = decimals(min(score.count for score in scores))
        low, deviation, high = (
            percent(value, places, unit=False) for value in (found.low, found.deviation, found.high)
        )
        return share(found.mean, places, f"\u00b1 {deviation}, {low}{DASH}{high}", "strong")

    rows = [[label, *(cell(name, attack) for attack in (None, *attacks))] for name, label in labels.items()]
    radius = results.radius(epsilon)
    name, caption = (f"accuracy_{radius.replace('/', '_')}", f"\u03b5 = {radius}") if radius else ("clean", "Clean")
    below = f"standard deviation and range of {len(seeds)} seeds"
    return Table(
        name, ["Model", "Clean", *map(label_of, attacks)], rows, caption, f"{UNIT}, mean", below, "accuracy first"
    )
