"""What the processes of a run tell each other."""

from collections.abc import Callable, Iterator
import contextlib
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np


def gathered(value: Any) -> np.ndarray:
    """The values of all processes, [processes, ...]; every process must call this, each with its own `value`."""
    if jax.process_count() == 1:
        return np.asarray(value)[None]
    return np.asarray(multihost_utils.process_allgather(np.asarray(value)))


@contextlib.contextmanager
def on_first(make: Callable[[], contextlib.AbstractContextManager]) -> Iterator[None]:
    """Enters a context, such as a lock, on the first process; where that is refused, the others raise ValueError."""
    refusal = None
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            try:
                stack.enter_context(make())
            except (OSError, ValueError) as error:
                refusal = error
        if gathered(refusal is not None)[0]:
            raise refusal or ValueError("the first process was refused; its message has the reason.")
        yield
