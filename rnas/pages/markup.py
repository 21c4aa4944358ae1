"""HTML elements built from values; whatever is not markup already is escaped."""

from __future__ import annotations

import html
from typing import Any

_VOID = frozenset({"br", "img", "link", "meta"})


class Markup(str):
    """Text that is HTML already and is not escaped again."""


def markup(content: Any) -> Markup:
    """Markup of `content`: `Markup` as it is, None as nothing, sequences joined, all else as escaped text."""
    if isinstance(content, Markup):
        return content
    if content is None:
        return Markup()
    if isinstance(content, list | tuple):
        return Markup("".join(markup(item) for item in content))
    return Markup(html.escape(str(content)))


def element(name: str, /, *content: Any, **attributes: Any) -> Markup:
    """One HTML element around `content`.

    Attribute names lose a trailing underscore and write others as hyphens (`class_`, `aria_label`); an
    attribute that is None is left out, one that is True stands without a value.
    """
    written = ""
    for key, value in attributes.items():
        if value is None:
            continue
        key = key.rstrip("_").replace("_", "-")
        written += f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{markup(content)}</{name}>")
