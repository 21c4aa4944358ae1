"""Reading `.npz` files with errors that name the file."""

from collections.abc import Sequence
import os

import numpy as np


def read_arrays(path: str | os.PathLike, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the named arrays of an `.npz` file, or all.

    Raises:
      ValueError: the file is missing, cannot be read, or lacks one of them.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in (archive.files if names is None else names)}
    except Exception as error:  # errors of zipfile, of the system, of headers and of missing arrays share no base class
        expected = "" if names is None else f"; expected arrays {', '.join(names)}"
        raise ValueError(f"{path} cannot be read ({error}){expected}.") from error
