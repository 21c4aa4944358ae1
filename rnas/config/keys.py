"""Every configuration key with its default and its comment, read from the sources of the defaults.

A key's comment is the one beside the line that first sets it or, if there is none, the block of comments above it.
"""

from collections.abc import Iterator
import contextlib
import functools
import io
from pathlib import Path
import sys
import tokenize
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rnas.config.defaults import SYSTEMS, sections


class Key(NamedTuple):
    """A key of a configuration; of a section the default is None.

    Attributes:
      name: dotted.
      comment: what it is, its unit and what it may be.
    """

    name: str
    default: Any
    comment: str
    is_section: bool = False


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

    with _replaced([*SYSTEMS.values(), sections], Recorded):
        config = SYSTEMS[system].get_config()

    def walk(section: ConfigDict, prefix: str) -> Iterator[Key]:
        for (owner, key), place in lines.items():
            if owner == id(section):
                value = section[key]
                inner = isinstance(value, ConfigDict)
                yield Key(f"{prefix}{key}", None if inner else value, _comment(*place), inner)
                if inner:
                    yield from walk(value, f"{prefix}{key}.")

    return list(walk(config, ""))


@contextlib.contextmanager
def _replaced(modules: list[ModuleType], kind: type) -> Iterator[None]:
    """Builds sections of another class in these modules."""
    try:
        for module in modules:
            vars(module)["ConfigDict"] = kind
        yield
    finally:
        for module in modules:
            vars(module)["ConfigDict"] = ConfigDict


def _comment(file: str, line: int) -> str:
    """The comment of the statement that begins in a line."""
    beside, above, ends = _comments(file)
    found = beside.get(line) or beside.get(ends.get(line, line))
    if found:
        return found
    block = []
    while (line := line - 1) in above:
        block.insert(0, above[line])
    return " ".join(block)


@functools.cache
def _comments(file: str) -> tuple[dict[int, str], dict[int, str], dict[int, int]]:
    """Comments by line, beside code and on lines of their own, and the last line of every statement by its first."""
    text = Path(file).read_text(encoding="utf-8")
    beside, above, ends = {}, {}, {}
    start = 0  # of the present statement
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row = token.start[0]
        if token.type == tokenize.COMMENT:
            alone = token.line.strip().startswith("#")
            (above if alone else beside)[row] = token.string.removeprefix("#").strip()
        elif token.type == tokenize.NEWLINE:
            ends[start], start = row, 0
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT) and not start:
            start = row
    return beside, above, ends
