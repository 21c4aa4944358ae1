"""What rules of a configuration are written with. The rules themselves stand beside the defaults of their section."""

from collections.abc import Mapping
import functools
from typing import Any

from ml_collections import ConfigDict


def value_of(config: ConfigDict, key: str) -> Any:
    """The value of a dotted key."""
    return functools.reduce(lambda section, name: section[name], key.split("."), config)


def check_different(config: ConfigDict, *keys: str) -> None:
    """Raises ValueError for the first dotted key that names something twice."""
    for key in keys:
        value = tuple(value_of(config, key))
        if twice := [each for each in value if value.count(each) > 1]:
            raise ValueError(f"{key} = {value} has {twice[0]!r} twice.")


def check_allowed(config: ConfigDict, allowed: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ValueError for the first dotted key whose value is none of those allowed."""
    for key, values in allowed.items():
        if (value := value_of(config, key)) not in values:
            raise ValueError(f"unknown {key} {value!r}; expected one of {', '.join(values)}.")
