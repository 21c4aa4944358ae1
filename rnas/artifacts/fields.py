"""The keys of a JSON object, each checked as it is read, so that an error names the file and the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import os
from pathlib import Path
from typing import Any, TypeVar

from rnas.artifacts.files import read_json

T = TypeVar("T")

KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


class Fields:
    """One JSON object of a file.

    Args:
      content: what the file holds at this place.
      path: the file, for messages.
      place: the keys that lead to the object, such as 'models.student'; '' for the whole file.

    Every method but `optional` raises ValueError where the key is missing or holds something of another kind.
    """

    def __init__(self, content: Any, path: str | os.PathLike, place: str = ""):
        self._path, self._place = Path(path), place
        if not isinstance(content, Mapping):
            raise ValueError(f"{self._where('')}: expected an object, got {content!r:.80}.")
        self._content = content

    @classmethod
    def of_file(cls, path: str | os.PathLike) -> Fields:
        """The object of a whole file; see `read_json` for what else can be wrong."""
        return cls(read_json(path), path)

    def __contains__(self, key: str) -> bool:
        return self._content.get(key) is not None

    def check_format(self, expected: int, remedy: str) -> None:
        """Raises ValueError unless 'format' is `expected`; `remedy` ends the sentence."""
        found = self._content.get("format")
        if found != expected:
            written = "a newer version of rnas" if isinstance(found, int) and found > expected else "an earlier version"
            stated = "no format" if found is None else f"format {found!r}"
            raise ValueError(f"{self._path} has {stated}, expected {expected}: {written} wrote it. {remedy}")

    def error(self, key: str, expected: str) -> ValueError:
        """An error about the value of a key, to be raised."""
        found = f"got {self._content[key]!r:.80}" if key in self._content else "which is missing"
        return ValueError(f"{self._where(key)}: expected {expected}, {found}. Write the file again, or restore it.")

    def value(self, key: str, kind: type) -> Any:
        value = self._content.get(key)
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, KINDS[kind])
        return value

    def optional(self, key: str, kind: type) -> Any:
        """None where the key is missing or null."""
        return self.value(key, kind) if key in self else None

    def text(self, key: str) -> str:
        return self.value(key, str)

    def whole(self, key: str, least: int = 0) -> int:
        value = self.value(key, int)
        if value < least:
            raise self.error(key, f"a whole number of at least {least}")
        return value

    def number(self, key: str, low: float = -float("inf"), high: float = float("inf")) -> float:
        value = self.value(key, float)
        if not low <= value <= high:
            raise self.error(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.value(key, str)
        if value not in choices:
            raise self.error(key, f"one of {', '.join(choices)}")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """An object, unchanged."""
        return dict(self.value(key, dict))

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.value(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "a list of texts")
        return tuple(values)

    def one(self, key: str) -> Fields:
        """An object inside this one."""
        return Fields(self.value(key, dict), self._path, _below(self._place, key))

    def pair(self, key: str) -> tuple[float, float]:
        """Two numbers."""
        values = self.value(key, list)
        if [isinstance(value, int | float) for value in values] != [True, True]:
            raise self.error(key, "two numbers")
        return float(values[0]), float(values[1])

    def each(self, key: str) -> list[Fields]:
        """The objects of a list."""
        values = self.value(key, list)
        return [
            Fields(value, self._path, f"{_below(self._place, key)}[{number}]") for number, value in enumerate(values)
        ]

    def record(self, cls: type[T], **read: Any) -> T:
        """A dataclass whose fields are keys of this object, each read by its type; `read` are fields read otherwise."""
        readers: dict[str, Callable[[str], Any]] = {
            "str": self.text,
            "int": self.whole,
            "float": self.number,
            "str | None": lambda key: self.optional(key, str),
            "int | None": lambda key: self.optional(key, int),
            "tuple[str, ...]": self.texts,
        }
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if field.name not in read:
                kind = field.type if isinstance(field.type, str) else field.type.__name__
                read[field.name] = readers[kind](field.name)
        return cls(**read)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._content)

    def except_for(self, *keys: str) -> dict[str, Any]:
        """The other keys of the object, with their values."""
        return {key: value for key, value in self._content.items() if key not in keys}

    def _where(self, key: str) -> str:
        return " ".join(filter(None, [str(self._path), _below(self._place, key) if key else self._place]))


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
