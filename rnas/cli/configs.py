"""`rnas configs`: the configurations that come with rnas, with what they cost and what to expect."""

import argparse
import dataclasses
import shutil
import textwrap

from rnas.cli.arguments import add_shared, show
from rnas.training.messages import tell

EXAMPLE = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--json")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Prints a paragraph for each."""
    from rnas.config import shipped

    found = [shipped.describe(name) for name in shipped.names()]
    if arguments.json:
        return show({"configurations": [dataclasses.asdict(each) for each in found]}, as_json=True)
    width = min(shutil.get_terminal_size().columns, 120)
    paragraphs = []
    for each in found:
        parts = (each.purpose, each.cost and f"Cost: {each.cost}", each.expectation and f"Expect: {each.expectation}")
        lines = (textwrap.fill(part, width, initial_indent="  ", subsequent_indent="  ") for part in parts if part)
        paragraphs.append("\n".join([each.name, *lines]))
    tell("\n\n".join([*paragraphs, "All keys of one, with comments: rnas config --config=NAME --doc"]))
    return 0
