"""What the processes of a run tell each other."""

from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np


def gathered(value: Any) -> np.ndarray:
    """The values of all processes, [processes, ...]; every process must call this, each with its own `value`."""
    if jax.process_count() == 1:
        return np.asarray(value)[None]
    return np.asarray(multihost_utils.process_allgather(np.asarray(value)))
