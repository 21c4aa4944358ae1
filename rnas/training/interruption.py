"""Stopping a run on a signal: at the next step, with a checkpoint, instead of at once."""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import threading


class Interrupted(Exception):
    """A run that a signal stopped, with its state saved; the message names what was saved."""


@contextlib.contextmanager
def _handling(handle: Callable) -> Iterator[None]:
    """Hands SIGINT and SIGTERM to `handle`. They reach only the main thread of a program: elsewhere nothing is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            # None stands for a handler that was not set from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Raises `Interrupted` on SIGINT and SIGTERM, for work between the loops that save at the next step.

    What such work has finished is on disk already.
    """

    def stop(number, frame):
        raise Interrupted(f"{signal.Signals(number).name}: stopped; everything finished so far is kept.")

    return _handling(stop)


class Interruption(contextlib.ExitStack):
    """Turns the first interrupt or termination signal into a request, for as long as it is entered.

    The loop looks at `requested` after each step. A second Ctrl-C raises `KeyboardInterrupt` as usual.
    """

    requested = False

    def __enter__(self) -> "Interruption":
        self.enter_context(_handling(self._handle))
        return self

    def _handle(self, number: int, frame) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested = True
            # Not print(): the signal may have come in the middle of one.
            name = signal.Signals(number).name
            os.write(2, f"\n{name}: saving, then stopping. Ctrl-C stops at once.\n".encode())
