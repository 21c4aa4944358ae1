"""`rnas describe`: sizes and taps of the networks of a configuration, without running them."""

import argparse

from rnas.cli.arguments import add_shared, read_config, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--config", "--workdir", "--json")
    parser.add_argument("--architecture", metavar="FILE", help="an architecture.json; default: the work directory's")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Prints the description; raises ValueError as `rnas.runs.description.describe`."""
    from rnas.cli import platform
    from rnas.runs.description import describe

    platform.prepare()
    config, workdir = read_config(arguments, overrides)
    return show(describe(config, workdir, arguments.architecture), as_json=arguments.json)
