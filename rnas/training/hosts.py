"""What the processes of a run tell each other."""

from collections.abc import Callable, Iterator
import contextlib
from pathlib import Path
import socket
import time
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np

from rnas.steps.meeting import meet

WAIT = 60.0  # seconds; a network file system may remember for a while that a file was not there
LONGEST = 64  # bytes of the name of a host that are told


def gathered(value: Any) -> np.ndarray:
    """The values of all processes, [processes, ...]; every process must call this, each with its own `value`."""
    if jax.process_count() == 1:
        return np.asarray(value)[None]
    meet("gather")
    return np.asarray(multihost_utils.process_allgather(np.asarray(value)))


def agreed(value: bool) -> bool:
    """The value of the first process, for all: they may see the same file at different times."""
    return bool(gathered(value)[0])


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
        if agreed(refusal is not None):
            raise refusal or ValueError("the first process was refused; its message has the reason.")
        yield


def done_on_first(do: Callable[[], object]) -> None:
    """Calls `do` on the first process; where it is refused there, the others raise ValueError too."""
    with on_first(lambda: contextlib.nullcontext(do())):
        pass


def check_shared(folder: Path, wait: float = WAIT) -> None:
    """Makes sure that all processes see the same folder, which exists on the first; they call this together.

    Raises ValueError on all of them where one does not see, within `wait` seconds, what the first one writes.
    """
    if jax.process_count() == 1:
        return
    mark = folder / f".seen_{int(gathered(time.time_ns() % 2**31)[0])}"
    if jax.process_index() == 0:
        mark.touch()
    meet("mark")
    until = time.monotonic() + wait
    while not (seen := mark.exists()) and time.monotonic() < until:
        time.sleep(0.5)
    everyone = gathered(seen)
    if jax.process_index() == 0:
        mark.unlink(missing_ok=True)
    if not everyone.all():
        name = np.frombuffer(socket.gethostname().encode()[:LONGEST].ljust(LONGEST), np.uint8)
        names = [bytes(each).decode(errors="replace").strip() for each in gathered(name)]
        blind = [f"{number} ({names[number]})" for number in np.flatnonzero(~everyone)]
        raise ValueError(
            f"{folder}: process {', '.join(blind)} does not see what process 0 ({names[0]}) writes there. "
            "Give all processes one shared folder, under the same path, as --workdir."
        )
