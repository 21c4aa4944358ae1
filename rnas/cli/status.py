"""`rnas status`: how far a run has come, or all runs of a folder."""

import argparse
import json
from pathlib import Path

from rnas.cli.arguments import add_shared

RUNS = "runs"  # where runs are made by default


def add_arguments(parser: argparse.ArgumentParser) -> None:
    words = f"work directory; default: the current one, if it is one, else all in the folder {RUNS}"
    parser.add_argument("--workdir", metavar="DIR", help=words)
    add_shared(parser, "--json")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Prints state, steps and times of every stage, or a line for each run; raises ValueError where there is no run."""
    from rnas.artifacts.run_record import FILE
    from rnas.runs.run_status import as_text, runs_below, status, summary

    named = arguments.workdir or ("." if Path(FILE).exists() else None)
    if named and ((Path(named) / FILE).exists() or not runs_below(Path(named))):
        found = status(Path(named))
        print(json.dumps(found) if arguments.json else as_text(found))
        return 0
    folder = Path(named or RUNS)
    runs = [status(workdir) for workdir in runs_below(folder)]
    if not runs:
        raise ValueError(f"there is no run in {folder}/; name one by --workdir=DIR, or start one with rnas run.")
    lines = [f"{found['workdir']}\n  {summary(found)}" for found in runs]
    print(json.dumps({"runs": runs}) if arguments.json else "\n".join(lines))
    return 0
