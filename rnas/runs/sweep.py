"""A sweep: one configuration with other values of some keys, over several seeds, and statistics between its points.

Every point of the grid is an arm, the student of an ordinary run with a search of its own; its runs are in
`<point>/seed_<n>`. An accelerator is filled by many searches side by side: start as many workers as it holds.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import itertools
from pathlib import Path
import re

import jax
from ml_collections import ConfigDict

from rnas.artifacts.study_results import FILE, seed_folder
from rnas.runs.stages import execute, is_finished, open_run
from rnas.runs.study import conclusions, results_of
from rnas.runs.workers import Piece, work
from rnas.training.messages import say

STUDENT = "student"
_FOREIGN = re.compile(r"[^\w.-]+")  # what does not go into the name of a folder


def read_grid(settings: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Reads 'train.objective=trades,rslad' and such: the values of each key, as they were written.

    A comma within brackets or quotes belongs to a value. Raises ValueError where a key has no value, or stands twice.
    """
    grid: dict[str, tuple[str, ...]] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        values = tuple(re.findall(r"""(?:\([^)]*\)|\[[^]]*\]|'[^']*'|"[^"]*"|[^,])+""", text))
        if not key or not values or key in grid or len(set(values)) < len(values):
            raise ValueError(f"--set={setting}: expected KEY=VALUE,VALUE,…, each key and each value of it once.")
        grid[key] = values
    return grid


def read_seeds(text: str) -> tuple[int, ...]:
    """Reads '0-4' or '0,2,5'. Raises ValueError for anything else, and for a seed that is there twice."""
    parts = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in text.split(",")]
    if not all(parts):
        raise ValueError(f"--seeds={text}: expected numbers such as 0-4 or 0,2,5.")
    seeds = [seed for part in parts if part for seed in range(int(part[1]), int(part[2] or part[1]) + 1)]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds={text}: expected one seed or more, each once, the lower end of a range first.")
    return tuple(seeds)


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of the grid: its name, which is that of its folder, and how it changes the configuration."""

    name: str
    overrides: tuple[str, ...]


def points(grid: Mapping[str, Sequence[str]]) -> list[Point]:
    """All combinations, named by the last parts of their keys, such as objective=trades+gamma=0.5.

    Raises ValueError where two would have the same name.
    """
    short = {key: key.rpartition(".")[2] for key in grid}
    names = {key: short[key] if list(short.values()).count(short[key]) == 1 else key for key in grid}
    found = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        parts = [f"{names[key]}={_FOREIGN.sub('_', value)}" for key, value in chosen.items()]
        overrides = tuple(f"--config.{key}={value}" for key, value in chosen.items())
        found.append(Point("+".join(parts) or "as_given", overrides))
    if len({point.name for point in found}) < len(found):
        raise ValueError(f"{', '.join(point.name for point in found)}: values too alike to name folders after them.")
    return found


def run_sweep(
    load: Callable[[Sequence[str]], ConfigDict],
    grid: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    workdir: Path,
    *,
    command: str,
    report: Callable[[Path], object] = lambda workdir: None,
    report_sweep: Callable[[Path], object] = lambda workdir: None,
) -> None:
    """Runs what nobody else is at of all points and seeds; once all are there, compares them with the first point.

    Args:
      load: overrides such as '--config.seed=1' → the configuration.
      command: what started it, for the record of every run.
      report, report_sweep: draw the page of a run and of the sweep.

    Raises ValueError for a configuration that cannot work, before anything runs.
    """
    found = points(grid)
    folders = {point.name: [workdir / point.name / seed_folder(seed) for seed in seeds] for point in found}
    pieces = []
    for point, (number, seed) in itertools.product(found, enumerate(seeds)):
        folder, config = folders[point.name][number], load([*point.overrides, f"--config.seed={seed}"])
        open_run(config, folder)
        pieces.append(
            Piece(
                name=f"{point.name}_{seed_folder(seed)}",
                title=f"sweep: {point.name}, seed {seed}",
                cost=1.0,
                is_done=functools.partial(is_finished, folder),
                do=functools.partial(execute, config, folder, command=command, report=report),
            )
        )
    say(f"sweep: {len(found)} points, {len(seeds)} seeds each: {len(pieces)} runs. Start as many workers as you like.")
    left = work(workdir, pieces)
    for name, reason in left.items():
        say(f"  {name}: {reason}")
    if left or jax.process_index():
        return
    config = load([*found[0].overrides, f"--config.seed={seeds[0]}"])
    arms = {point.name: [(folder, STUDENT) for folder in folders[point.name]] for point in found}
    pairs = [(point.name, found[0].name) for point in found[1:]]
    results = results_of(config, seeds, arms, pairs)
    # All are students: on the page they have the names of their points.
    labelled = tuple(dataclasses.replace(arm, label=arm.name) for arm in results.arms)
    results = dataclasses.replace(results, arms=labelled)
    results.write(workdir / FILE)
    report_sweep(workdir)
    say(conclusions(results))
