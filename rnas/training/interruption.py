"""Stopping a run on a signal: at the next step, with a checkpoint, instead of at once."""

import contextlib
import os
import signal
import threading
from typing import Any


class Interrupted(Exception):
    """A run that a signal stopped, with its state saved; the message names what was saved."""


@contextlib.contextmanager
def interruptible():
    """Raises `Interrupted` on SIGINT and SIGTERM, for work between the loops that save at the next step.

    What such work has finished is on disk already. Does nothing outside the main thread.
    """

    def stop(number, frame):
        raise Interrupted(f"{signal.Signals(number).name}: stopped; everything finished so far is kept.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Interruption:
    """Turns the first interrupt or termination signal into a request, for as long as it is entered.

    The loop looks at `requested` after each step. A second Ctrl-C raises `KeyboardInterrupt` as usual.
    Signals reach only the main thread of a program: entered elsewhere, this does nothing.
    """

    def __init__(self):
        self._requested = False
        self._former: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has requested an end."""
        return self._requested

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._former.items():
            # None stands for a handler that was not set from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former.clear()

    def _handle(self, number: int, frame) -> None:
        if self._requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self._requested:
            self._requested = True
            # Not print(): the signal may have come in the middle of one.
            name = signal.Signals(number).name
            os.write(2, f"\n{name}: saving, then stopping. Ctrl-C stops at once.\n".encode())
