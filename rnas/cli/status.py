"""`rnas status`: how far a run, a study or a table has come, or all runs and tables of a folder."""

import argparse
import json
from pathlib import Path
from typing import Any

from rnas.cli.arguments import add_shared

RUNS = "runs"  # where runs are made by default
DEPTH = 3  # folders below it in which they are looked for: runs/<folder>/<name>/seed_<n>
EXAMPLE = "--workdir=runs/rnas_cl/digits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    words = f"work directory; default: the current one, if it is one, else all in the folder {RUNS}"
    parser.add_argument("--workdir", metavar="DIR", help=words)
    add_shared(parser, "--json")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Prints states, steps and times of one work directory, or a line for each; ValueError where there is none."""
    from rnas.runs import run_status, study_status, table_status

    def kind(folder: Path, *kinds: Any) -> Any:
        return next((each for each in kinds if each.is_one(folder)), None)

    every = run_status, study_status, table_status
    folder = Path(arguments.workdir or ("." if kind(Path(), *every) else RUNS))
    # Of a study its seeds, which are runs.
    below = {path: each for path in _work_directories(folder) if (each := kind(path, run_status, table_status))}
    alone = kind(folder, *every) or (run_status if arguments.workdir and not below else None)  # which refuses
    if alone:
        found = alone.status(folder)
        text = alone.as_text(found)
    elif below:
        states = {path: each.status(path) for path, each in below.items()}
        found = {"runs": list(states.values())}
        text = "\n".join(f"{path}\n  {each.summary(states[path])}" for path, each in below.items())
    else:
        raise ValueError(f"there is no run in {folder}/; name one by --workdir=DIR, or start one with rnas run.")
    print(json.dumps(found) if arguments.json else text)
    return 0


def _work_directories(folder: Path) -> list[Path]:
    from rnas.artifacts.run_record import FILE as RECORD
    from rnas.config.load import FILE as CONFIG

    patterns = ["*/" * depth + name for depth in range(DEPTH + 1) for name in (RECORD, CONFIG)]
    return sorted({path.parent for pattern in patterns for path in folder.glob(pattern)})
