"""`search_history/<stage>/<epoch>.npz`: what a search held to be likely, at the start of every epoch and at the end."""

from collections.abc import Mapping
import dataclasses
from pathlib import Path

import numpy as np

from rnas.artifacts.files import check_kinds, read_arrays, write_arrays

FOLDER = "search_history"


@dataclasses.dataclass(frozen=True)
class SearchHistory:
    """Probabilities over the epochs of a search.

    Attributes:
      epochs: [T] ascending.
      tutors: [T, n_s, n_t] of the teacher layers for each student layer; None where none were searched.
      widths: [T, options] of each block; empty where the space has no widths.
    """

    epochs: np.ndarray
    tutors: np.ndarray | None
    widths: tuple[np.ndarray, ...]


def write_epoch(workdir: Path, stage: str, epoch: int, probabilities: Mapping[str, np.ndarray]) -> None:
    """Records an epoch; one that was recorded before an interruption is replaced.

    Args:
      probabilities: 'tutors' [n_s, n_t], 'width_0' [options] and so on, as far as there are any.
    """
    write_arrays(workdir / FOLDER / stage / f"{epoch:05d}.npz", probabilities)


def read_history(workdir: Path, stage: str = "search") -> SearchHistory | None:
    """Reads what a search recorded; None where it recorded nothing. Raises ValueError for a damaged file."""
    files = sorted((workdir / FOLDER / stage).glob("*.npz"))
    if not files:
        return None
    rows = [read_arrays(file) for file in files]
    for file, row in zip(files, rows, strict=True):
        check_kinds(file, row, dict.fromkeys(row, "shares"))
    shapes = [{name: array.shape for name, array in row.items()} for row in rows]
    if odd := [str(file) for file, found in zip(files, shapes, strict=True) if found != shapes[0]]:
        raise ValueError(f"{odd[0]} holds other arrays than {files[0]}: was it written by another run?")
    blocks = [f"width_{block}" for block in range(sum(name.startswith("width_") for name in rows[0]))]
    return SearchHistory(
        np.array([int(file.stem) for file in files]),
        np.stack([row["tutors"] for row in rows]) if "tutors" in rows[0] else None,
        tuple(np.stack([row[name] for row in rows]) for name in blocks),
    )
