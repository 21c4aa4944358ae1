"""Dataclasses that are JSON objects: pydantic writes them, reads them and checks every key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import os
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Field,
    GetPydanticSchema,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)
import pydantic.dataclasses
from pydantic_core import core_schema

from rnas.artifacts.files import plain, read_json, write_json

Count = Annotated[int, Field(strict=True, ge=0)]
Size = Annotated[int, Field(strict=True, ge=1)]
Extent = Annotated[int, Field(strict=True, ge=1, le=2**14)]  # of an image or a network, which is no larger
Classes = Annotated[int, Field(strict=True, ge=1, le=10**6)]  # K, of a classifier
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Radius = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
LEFT_OUT = Field(exclude_if=lambda value: value is None)  # None is written by leaving the key out

_OTHER = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError)
_EXPECTED = {  # for types of error whose message speaks of Python
    "dataclass_type": "an object",
    "dict_type": "an object",
    "mapping_type": "an object",
    "tuple_type": "a list",
    "string_type": "a text",
    "missing": "a value",
    "unexpected_keyword_argument": "no such key",
}


def one_of(*choices: str) -> Any:
    """For `Annotated[str, …]`: the text is one of these."""
    return GetPydanticSchema(lambda source, handler: core_schema.literal_schema([*choices]))


@pydantic.dataclasses.dataclass(frozen=True)  # its subclasses are plain dataclasses: making one checks nothing
class Record:
    """A dataclass that is written as a JSON object with its fields as keys. Keys that are no field are passed over."""

    format: ClassVar[int | None] = None  # number that stands in the file; None: it has none
    earlier: ClassVar[str] = ""  # what to do with a file of another format
    remedy: ClassVar[str] = "Write the file again, or restore it."  # what to do with a file that holds something else
    # Fields whose own keys stand among the others, not in an object. They get all keys that are no field, if any.
    beside: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, path: str | os.PathLike) -> Self:
        """Reads a file.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it is no JSON, is of another format or holds something else; the message names file and keys.
        """
        return cls.from_json(read_json(path), path)

    @classmethod
    def from_json(cls, content: Any, path: str | os.PathLike = "JSON") -> Self:
        """The record of an object that was read from `path`. Raises ValueError as `read` does."""
        if cls.format is not None and isinstance(content, Mapping) and (found := content.get("format")) != cls.format:
            newer = isinstance(found, int) and found > cls.format
            stated = "no format" if found is None else f"format {found!r}"
            raise ValueError(
                f"{path} has {stated}, expected {cls.format}: "
                f"{'a newer version of rnas' if newer else 'an earlier version'} wrote it. {cls.earlier}"
            )
        try:
            return _adapter(cls).validate_python(content)
        except ValidationError as error:
            wrong = "; ".join(_said(one, content) for one in error.errors(include_url=False)[:5])
            raise ValueError(f"{path} {wrong}. {cls.remedy}") from error
        except _OTHER as error:  # of a field's own reader, which met what it was not made for
            said = f"{type(error).__name__}: {error!s:.200}"
            raise ValueError(f"{path} holds what {cls.__name__} cannot ({said}). {cls.remedy}") from error

    def to_json(self) -> dict[str, Any]:
        content = _adapter(type(self)).dump_python(self, mode="json", by_alias=True, fallback=plain, warnings=False)
        return content if self.format is None else {"format": self.format, **content}

    def write(self, path: str | os.PathLike) -> None:
        """Writes the file in one step. Raises as `write_json`."""
        write_json(path, self.to_json())

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, content: Any) -> Any:
        if not cls.beside or not isinstance(content, Mapping):
            return content
        own = {field.name for field in dataclasses.fields(cls)} - {*cls.beside}
        rest = {key: value for key, value in content.items() if key not in own}
        return {key: content[key] for key in content.keys() & own} | {name: rest for name in cls.beside if rest}

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = handler(self)
        for name in self.beside:
            content |= content.pop(name) or {}
        return content


_adapter: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)


def _said(error: Any, content: Any) -> str:
    """What is wrong: the key, what was expected and what was found."""
    expected = error["msg"].removeprefix("Value error, ").rstrip(".")
    if error["type"] != "value_error":
        expected = "expected " + _EXPECTED.get(error["type"], expected.removeprefix("Input should be "))
        found = "which is missing" if error["type"] == "missing" else f"got {error['input']!r:.80}"
        expected = f"{expected}, {found}"
    place = _place([key for key in error["loc"] if key != "[key]"], content)
    return f"{place}: {expected}" if place else expected


def _place(location: Sequence[Any], content: Any) -> str:
    """The keys that lead to a value: those of the file, without names of fields that stand beside the others."""
    place = ""
    for number, key in enumerate(location):
        known = isinstance(content, Mapping) and key in content
        known = known or isinstance(content, list) and isinstance(key, int) and key < len(content)
        if known:
            content = content[key]
        if known or number == len(location) - 1:
            place += f"[{key}]" if isinstance(key, int) else f".{key}" if place else key
    return place
