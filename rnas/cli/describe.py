"""`rnas describe`: sizes and taps of the networks of a configuration, and what its run costs, before it runs."""

import argparse

from rnas.cli.arguments import add_shared, read_config, show

EXAMPLE = "--config=rnas_cl/cifar10:s7"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--config", "--workdir", "--json")
    parser.add_argument("--architecture", metavar="FILE", help="an architecture.json; default: the work directory's")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Prints the description; raises ValueError as `rnas.runs.description.describe`."""
    from rnas.cli import platform
    from rnas.runs import training_cost
    from rnas.runs.description import describe

    platform.prepare()
    config, workdir = read_config(arguments, overrides)
    found = describe(config, workdir, arguments.architecture, training_cost.speeds)
    return show(found, as_json=arguments.json)
