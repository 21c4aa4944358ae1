"""Pickles read without running anything they name.

A pickle is a program: it names functions and calls them. Here a name can only mean one of a few objects that the reader
of a format gives; any other name ends the reading before anything is called.
"""

from collections.abc import Callable, Mapping
import io
import pickle
import pickletools
from typing import Any


class ForeignGlobal(ValueError):
    """A pickle names something that files of its kind do not hold."""

    def __init__(self, name: str, expected: str):
        super().__init__(f"it names {name!r}, which is {expected}")


def bare(function: Callable) -> Callable:
    """A function as an object without attributes, which a pickle could set and which would outlive it."""
    return type(function.__name__, (), {"__slots__": (), "__call__": staticmethod(function)})()


class RestrictedUnpickler(pickle.Unpickler):
    """Builds dicts, lists, tuples, numbers and texts, and what the objects that it may name make of them.

    Args:
      content: the pickle.
      names: what it may name, as 'module.name', and what it gets for it.
      longest: bytes that are read at most.
      otherwise: what any other name is, for messages: 'no tensor'.
      encoding: of the texts of Python 2; 'bytes' leaves them as they are.

    Raises ValueError where the pickle is longer, or would have memory reserved for more objects than it makes. Messages
    name types, not values: the text of a tuple that holds another twice, and so on, has no end.
    """

    def __init__(self, content: bytes, names: Mapping[str, Any], *, longest: int, otherwise: str, encoding: str):
        if len(content) > longest:
            raise ValueError(f"it has {len(content):,} bytes; at most {longest:,} are read")
        count, largest = 0, 0
        for operation, argument, _ in pickletools.genops(content):
            count += 1
            largest = max(largest, int(argument or 0) if "PUT" in operation.name else 0)
        if largest > count:
            raise ValueError("it numbers objects beyond their count")
        super().__init__(io.BytesIO(content), encoding=encoding)
        self._names, self._otherwise = names, otherwise

    def find_class(self, module: str, name: str) -> Any:
        if (found := f"{module}.{name}") not in self._names:
            raise ForeignGlobal(found, self._otherwise)
        return self._names[found]
