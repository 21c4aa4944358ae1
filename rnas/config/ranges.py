"""Which numbers a key may have. The ranges of all keys stand in `rnas.config.defaults.ranges`."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers between two limits; of a tuple each element."""

    least: float = -math.inf
    most: float = math.inf
    without: tuple[float, ...] = ()  # limits that are not allowed themselves
    is_length: bool = False  # a string such as '8/255', in units of pixels scaled to [0, 1]

    def __contains__(self, value: Any) -> bool:
        number = _length(value) if self.is_length else value
        return math.isfinite(number) and self.least <= number <= self.most and number not in self.without

    def __str__(self) -> str:
        least = f"{'more than' if self.least in self.without else 'at least'} {self.least:.10g}"
        if self.most == math.inf:
            return least
        if not self.without:
            return f"from {self.least:.10g} to {self.most:.10g}"
        return f"{least} and {'less than' if self.most in self.without else 'at most'} {self.most:.10g}"


def _length(text: str) -> float:
    numerator, _, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"cannot read {text!r} as a length; write for example '8/255' or '0.03'.") from None


def at_least(least: float) -> Range:
    return Range(least)


def more_than(least: float) -> Range:
    return Range(least, without=(least,))


def within(least: float, most: float, *, without: tuple[float, ...] = ()) -> Range:
    return Range(least, most, without)


LENGTH = Range(0, 1, is_length=True)


def range_of(key: str, ranges: Mapping[str, Range]) -> Range | None:
    """The range under the longest end of a dotted key: of `train.epochs` that, or else `epochs`."""
    names = key.split(".")
    return next((found for i in range(len(names)) if (found := ranges.get(".".join(names[i:])))), None)


def check_ranges(config: ConfigDict, ranges: Mapping[str, Range], prefix: str = "") -> None:
    """Raises ValueError for the first number outside the range of its key; it gives both."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, ConfigDict):
            check_ranges(value, ranges, f"{key}.")
        elif value is not None and (allowed := range_of(key, ranges)):
            for element in value if isinstance(value, tuple | list) else (value,):
                _check(key, value, element, allowed)


def _check(key: str, value: Any, element: Any, allowed: Range) -> None:
    try:
        fits = element in allowed
    except TypeError:
        fits = False  # text, say, where a number is expected
    except ValueError as error:
        raise ValueError(f"{key} = {value!r}: {error}") from None
    if not fits:
        kind = "lengths in pixels scaled to [0, 1], " if allowed.is_length else ""
        raise ValueError(f"{key} = {value!r}: expected {kind}{allowed}.")
