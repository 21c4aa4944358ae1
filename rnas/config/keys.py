"""Every configuration key with its default and its comment, read from the sources of the defaults.

A key's comment is the one beside the line that first sets it or, if there is none, the block of comments above it.
"""

import ast
from collections.abc import Iterator
import contextlib
import functools
import itertools
from pathlib import Path
import sys
from typing import Any, NamedTuple
from unittest import mock

from ml_collections import ConfigDict

from rnas.config.defaults import SYSTEMS, sections
from rnas.config.defaults.ranges import RANGES
from rnas.config.ranges import range_of


class Key(NamedTuple):
    """A key of a configuration."""

    name: str  # dotted
    default: Any  # of a section None
    comment: str  # what it is, its unit and what it may be
    is_section: bool = False
    allowed: str = ""  # of a number, or of each in a tuple: its range


def keys(system: str) -> list[Key]:
    """All keys of a system in the order in which its defaults set them, each section before its keys."""
    lines: dict[tuple[int, str], tuple[str, int]] = {}  # identity of a section and key: file and line that first set it

    class Recorded(ConfigDict):
        def __setitem__(self, key, value):
            frame: Any = sys._getframe(1)
            while Path(frame.f_code.co_filename).parent != Path(sections.__file__).parent:
                frame = frame.f_back
            lines.setdefault((id(self), key), (frame.f_code.co_filename, frame.f_lineno))
            super().__setitem__(key, value)

    with contextlib.ExitStack() as stack:
        for module in (*SYSTEMS.values(), sections):  # they build sections of this class meanwhile
            stack.enter_context(mock.patch.object(module, "ConfigDict", Recorded))
        config = SYSTEMS[system].get_config()

    def walk(section: ConfigDict, prefix: str) -> Iterator[Key]:
        for (owner, key), place in lines.items():
            if owner == id(section):
                value = section[key]
                inner = isinstance(value, ConfigDict)
                name = f"{prefix}{key}"
                allowed = "" if inner or isinstance(value, bool) else str(range_of(name, RANGES) or "")
                yield Key(name, None if inner else value, _comment(*place), inner, allowed)
                if inner:
                    yield from walk(value, f"{name}.")

    return list(walk(config, ""))


def _comment(file: str, line: int) -> str:
    """The comment beside the statement that begins in a line or, without one, the block of comments above it."""
    lines, ends = _source(file)
    for place in (line, ends.get(line, line)):
        if beside := lines[place - 1].partition("  # ")[2]:
            return beside
    above = itertools.takewhile(lambda text: text.startswith("#"), map(str.strip, lines[line - 2 :: -1]))
    return " ".join(text.removeprefix("#").strip() for text in reversed([*above]))


@functools.cache
def _source(file: str) -> tuple[list[str], dict[int, int]]:
    """The lines of a file, and the last line of each statement by its first."""
    text = Path(file).read_text(encoding="utf-8")
    statements = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt))
    return text.splitlines(), {node.lineno: node.end_lineno or node.lineno for node in statements}
