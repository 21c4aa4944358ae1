"""Choosing images in equal numbers from every class."""

import numpy as np

from rnas.data.sampler import check_seed, permutation

_WORD = 2**64 - 1  # distinguishes this use of a seed from the epochs of a `Sampler` with the same seed


def balanced_rows(labels: np.ndarray, count: int, *, num_classes: int, seed: int) -> np.ndarray:
    """`count` rows, an equal number of every class; what does not divide goes one each to the first classes.

    Args:
      labels: [N] integers in 0 … num_classes - 1.
      count: rows to choose; every class must keep at least one.
      seed: the choice depends on the labels, the count and this alone.

    Returns [count] int64, ascending; raises ValueError if `count` is negative or leaves some class without an image.
    """
    check_seed(seed)
    if count < 0:
        raise ValueError(f"{count} images to choose: expected 0 or more")
    if count == 0:
        return np.empty(0, np.int64)
    wanted = count // num_classes + (np.arange(num_classes) < count % num_classes)
    present = np.bincount(labels, minlength=num_classes)
    scarcest = int(np.argmin(present - wanted))
    if present[scarcest] <= wanted[scarcest]:
        raise ValueError(
            f"{count} images to choose, {wanted[scarcest]} of class {scarcest}, but the class has "
            f"{present[scarcest]} and must keep at least one: choose at most "
            f"{num_classes * max(int(present.min()) - 1, 0)}"
        )
    return _rows_of_classes(labels, wanted, seed)


def stratified_rows(labels: np.ndarray, share: float, *, num_classes: int, left: int, seed: int) -> np.ndarray:
    """This share of the rows of every class, rounded, but at least one.

    Args:
      labels: [N] integers in 0 … num_classes - 1.
      share: in 0 … 1, both excluded.
      left: rows of every class that are not chosen, at least.
      seed: the choice depends on the labels, the share and this alone.

    Returns the rows [n] int64, ascending; raises ValueError if a class has no more than `left`.
    """
    check_seed(seed)
    present = np.bincount(labels, minlength=num_classes)
    if present.min() <= left:
        raise ValueError(f"class {present.argmin()} has {present.min()} images, and {left} of it are to be left")
    wanted = np.clip(np.rint(share * present).astype(int), 1, present - left)
    return _rows_of_classes(labels, wanted, seed)


def _rows_of_classes(labels: np.ndarray, wanted: np.ndarray, seed: int) -> np.ndarray:
    """`wanted[k]` rows of each class k, drawn by the seed, ascending."""
    shuffled = permutation(len(labels), seed, _WORD)
    chosen = [shuffled[labels[shuffled] == label][:number] for label, number in enumerate(wanted)]
    return np.sort(np.concatenate(chosen))
