"""`rnas status`: which stages of a work directory are complete."""

import argparse
from pathlib import Path

from rnas.cli.arguments import add_shared, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", default=".", metavar="DIR", help="work directory; default: the current one")
    add_shared(parser, "--json")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Prints state and seconds of every stage; raises ValueError where there is no run."""
    from rnas.runs.description import status

    return show(status(Path(arguments.workdir)), as_json=arguments.json)
