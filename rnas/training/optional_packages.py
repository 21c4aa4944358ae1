"""Packages that only some commands need, and what brings them."""

import importlib
from typing import Any


def needed(package: str, extra: str, why: str = "this") -> Any:
    """Imports a package; raises ValueError, naming the extra of rnas that brings it, where it is not installed.

    Args:
      package: a name to import, which may have dots.
      extra: of setup.py.
      why: what needs it, as the beginning of a sentence.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise ValueError(f"{why} needs {name}, which is not installed: pip install 'rnas[{extra}]'.") from error
