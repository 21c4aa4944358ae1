"""One HTML file that needs no network: title, opening, sections, with its pictures as PNG files beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rnas.pages.canvas import Picture
from rnas.pages.markup import Markup, element
from rnas.pages.parts import note
from rnas.pages.style import STYLE

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, eyebrow: str, opening: list[Any], parts: Sequence[tuple[str, str, Any]]) -> str:
    """The page: title and opening, then a section for each of `parts` (anchor, heading, content) that has content."""
    parts = [part for part in parts if part[2]]
    links = [element("a", name, href=f"#{anchor}") for anchor, name, _ in parts]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Markup(STYLE)),
    ]
    main = [
        element("p", eyebrow, class_="eyebrow"),
        element("h1", title),
        opening,
        element("nav", links, aria_label="Contents"),
        [element("section", element("h2", name), content, id=anchor) for anchor, name, content in parts],
    ]
    written = element("html", element("head", head), element("body", element("main", main)), lang="en")
    return f"<!DOCTYPE html>\n{written}\n"


def save(path: Path, text: str, pictures: Iterable[Picture]) -> Path:
    """Writes the page to `path`, and its pictures to a folder of the same name without suffix; returns `path`."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
    path.write_text(text, encoding="utf-8")
    return path


def dotted(*words: Any) -> str:
    """What a page is about, in a line; what is not known is left out."""
    return " \u00b7 ".join(str(word) for word in words if word)


def care(warnings: Sequence[Any]) -> Markup | None:
    """What a reader must know before any figure."""
    items = [element("li", warning) for warning in warnings]
    return note("Read with care.", element("ul", items)) if items else None
