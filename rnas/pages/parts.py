"""Pieces every section is put together from."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from rnas.pages.canvas import Picture
from rnas.pages.markup import Markup, element

_COLUMN = 860  # CSS pixels; what is wider keeps its size and scrolls, so that its labels stay legible


def note(heading: str, content: Any) -> Markup:
    """A remark that must not be overlooked."""
    return element("div", element("b", heading, " "), content, class_="note", role="note")


def fact_list(known: Mapping[str, Any]) -> Markup | None:
    """Terms and what is known of them; a term of which nothing is known is left out."""
    pairs = [[element("dt", name), element("dd", fact)] for name, fact in known.items() if fact]
    return element("dl", pairs, class_="facts") if pairs else None


def tile(title: str, figure: Any, beside: Mapping[str, Any] | None = None) -> Markup:
    """One figure, large, above those it is compared with."""
    return element(
        "div",
        element("dt", title),
        element("dd", figure, class_="student"),
        [
            element("dd", element("span", label), element("span", other))
            for label, other in (beside or {}).items()
            if other is not None
        ],
        class_="tile",
    )


def folded(title: Any, content: Any, unfolded: bool = False) -> Markup:
    """Content behind its title, to be opened by the reader."""
    return element("details", element("summary", title), content, open=True if unfolded else None)


def figure(picture: Picture, caption: str) -> Markup:
    """A plot with its caption."""
    # The map of tutors is never shrunk either: its labels are the smallest of all.
    kind = "plot wide" if picture.name == "tutors" or picture.width > _COLUMN else "plot fit"
    return element("figure", element("div", image(picture), class_=kind), element("figcaption", caption))


def image(picture: Picture) -> Markup:
    """The picture itself, within the page."""
    source = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
    return element("img", src=source, alt=picture.alt, width=picture.width, height=picture.height)
