"""Pages: a template filled with data, one HTML file that needs no network, its tables and pictures as files beside it.

A page is described by a *context*, a dictionary of plain data: text, `Table`, `Picture`, `Tile`, and lists and
dictionaries of them. What a page contains is tested there. The template turns it into HTML. It extends `base.html`,
which expects:

- `title` and `eyebrow`, the line above it;
- `sections`: anchor -> `Section`, in the order of the page; the template defines a block of the anchor's name for each.

`macros.html` prints tables, pictures and the like: `{% import "macros.html" as ui with context %}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import functools
from pathlib import Path
import re
from typing import Any, NamedTuple

import jinja2

from rnas.artifacts import files
from rnas.attacks.catalogue import label_of
from rnas.pages import quantity
from rnas.pages.canvas import Picture
from rnas.pages.table import DASH, Cell, Table


class Section(NamedTuple):
    """A section of a page: its heading, and whatever its block of the template prints."""

    title: str
    content: Any


class Tile(NamedTuple):
    """One large figure at the top of a page, with what it has to be compared with below: label -> text."""

    title: str
    figure: str
    beside: Mapping[str, str]


class Fold(NamedTuple):
    """A table or a picture that the reader unfolds by its title."""

    title: str
    content: Table | Picture | None
    unfolded: bool = False


def sections(**given: tuple[str, Any]) -> dict[str, Section]:
    """Anchor -> section, of those that have content."""
    return {anchor: Section(*section) for anchor, section in given.items() if section[1]}


def dotted(*words: Any) -> str:
    """What a page is about, in one line, without what is not known."""
    return " \u00b7 ".join(str(word) for word in words if word)


def render(template: str, context: Mapping[str, Any], folder: str = "report") -> str:
    """The HTML of a page, whose files lie in `folder`. Raises jinja2.UndefinedError where the context lacks data."""
    return _environment().get_template(template).render(**context, folder=folder)


def lines(template: str, context: Mapping[str, Any]) -> list[str]:
    """The lines of a template of plain text, each once."""
    return list(dict.fromkeys(filter(None, render(template, context).splitlines())))


def say(name: str, *given: Any) -> str:
    """A sentence of `words.txt`, by the name of its macro."""
    return re.sub(r"[ \n]+", " ", getattr(_environment().get_template("words.txt").module, name)(*given)).strip()


def publish(path: Path, template: str, context: Mapping[str, Any]) -> Path:
    """Writes a page, and the files of its tables and pictures in a folder of its name; returns `path`.

    The same context gives the same bytes. Files there of an earlier page that this one lacks are removed.

    Raises:
        OSError: a file could not be written.
    """
    folder = path.with_suffix("")
    html = render(template, context, folder.name)
    written: dict[Path, bytes] = {}
    for item in contents(context):
        for name, content in item.files.items():
            assert written.setdefault(folder / name, content) == content, f"two items of {path} have the name {name}"
    for target, content in written.items():
        files.write_bytes(target, content)
    for former in (*folder.glob("tables/*"), *folder.glob("figures/*")):
        if former.suffix in (".csv", ".tex", ".png", ".svg") and former not in written:
            former.unlink()
    files.write_text(path, html)
    return path


def contents(context: Any) -> list[Table | Picture]:
    """Every table and picture of a context, in order, each once."""
    if isinstance(context, Table | Picture):
        return [context]
    if isinstance(context, str | bytes) or not isinstance(context, Mapping | Sequence):
        return []
    inner = context.values() if isinstance(context, Mapping) else context
    return list({id(item): item for one in inner for item in contents(one)}.values())


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rnas.pages"),
        autoescape=jinja2.select_autoescape(disabled_extensions=("txt",), default=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = ("compact", "duration", "exact", "p_value", "percent", "points", "radius")
    environment.filters |= {name: getattr(quantity, name) for name in filters} | {"attack": label_of}
    environment.tests |= {"cell": lambda item: isinstance(item, Cell), "table": lambda item: isinstance(item, Table)}
    environment.globals |= {"dash": DASH}
    return environment
