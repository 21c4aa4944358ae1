"""The tables of the page, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnas.pages.markup import Markup, element
from rnas.pages.quantity import compact, exact

NONE = Markup('<span class="none">\u2013</span>')


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: Any = None, kind: str = "") -> Markup:
    """A table whose first column names its rows; it scrolls by itself where the page is too narrow."""
    body = [
        element("tr", element("th", first, scope="row"), [element("td", cell) for cell in rest])
        for first, *rest in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption) if caption else None,
            element("thead", element("tr", [element("th", cell, scope="col") for cell in head])),
            element("tbody", body),
            class_=kind or None,
        ),
        class_="scroll",
    )


def count(number: int | None) -> Markup:
    """A count in three figures, in full where the pointer rests; a dash where there is none."""
    return NONE if number is None else element("span", compact(number), title=exact(number))


def setting_table(settings: Mapping[str, Any], head: tuple[str, str] = ("Key", "Value")) -> Markup:
    """A nested mapping as dotted keys and their values."""
    return table(head, [[key, element("code", value)] for key, value in flat(settings)])


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Dotted keys and values, as text."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
