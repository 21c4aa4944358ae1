"""`rnas config`: every key of a configuration with its value, and what it means."""

import argparse
import textwrap
from typing import Any

from rnas.cli.arguments import add_shared, read_config, show
from rnas.training.messages import tell

EXAMPLE = "--config=rnas_cl/cifar10:s7 --doc"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--config", "--workdir", "--json")
    parser.add_argument("--doc", action="store_true", help="with what each key means, and the numbers it may have")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Prints the keys as the command line takes them, one a line; raises ValueError as `read_config`."""
    from rnas.config.checks import value_of
    from rnas.config.keys import keys

    config, _ = read_config(arguments, overrides, table=None)
    if arguments.json:
        return show(config.to_dict(), as_json=True)
    for key in keys(config.system):
        if arguments.doc:
            words = "; ".join(filter(None, [key.comment or key.name, key.allowed]))
            tell(("\n" if key.is_section else "") + textwrap.indent(textwrap.fill(words, 118), "# "))
        if not key.is_section:
            tell(f"{key.name}={_written(value_of(config, key.name))}")
    return 0


def _written(value: Any) -> str:
    """A value as --config.key=value takes it."""
    return value if isinstance(value, str) else repr(value)
