"""Cells under independent probabilities of the operations on each edge."""

from collections.abc import Sequence

import numpy as np

from rnas.spaces.nasbench201.architecture_names import EDGES, OPERATIONS, encodings, ids_by_operation


def most_probable(probabilities: Sequence | np.ndarray) -> int:
    """Returns the id of the cell that has on every edge the most probable operation, the lower index of equals.

    Args:
      probabilities: [6, 5], of the operations on each edge.

    Raises:
      ValueError: another shape, a number that is none or negative, or edges whose sum is not 1.
    """
    return int(ids_by_operation()[tuple(_checked(probabilities).argmax(1))])


def log_probabilities(probabilities: Sequence | np.ndarray) -> np.ndarray:
    """Returns the logarithm of the probability [15625] of every cell, edges being drawn independently; -inf for 0.

    Args:
      probabilities: [6, 5], of the operations on each edge.

    Raises:
      ValueError: as `most_probable`.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(_checked(probabilities))
    return np.take_along_axis(logs[None], encodings()[..., None], axis=2)[..., 0].sum(1)


def _checked(probabilities: Sequence | np.ndarray) -> np.ndarray:
    found = np.asarray(probabilities, np.float64)
    expected = len(EDGES), len(OPERATIONS)
    if found.shape != expected:
        raise ValueError(f"probabilities of shape {found.shape}: expected {expected}, of operations on each edge.")
    if not (found >= 0).all() or np.abs(found.sum(1) - 1).max() > 1e-3:
        raise ValueError(f"probabilities {found.tolist()}: expected numbers from 0 that sum to 1 on each edge.")
    return found
