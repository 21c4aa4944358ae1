"""Stopping a run on a signal: at the next step, with a checkpoint, instead of at once."""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import threading

AGAIN = os.EX_TEMPFAIL  # exit code that asks a scheduler to start the same command again
_CODES = {signal.SIGINT: 130, signal.SIGTERM: AGAIN}
_asked: list[int] = []  # signals that came between the loops, where a process must not stop alone


class Interrupted(Exception):
    """A run that a signal stopped, with its state saved; the message names what was saved.

    Attributes:
      code: the exit code, 130 after Ctrl-C, `AGAIN` where a scheduler or another person ended the process.
    """

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.code = _CODES[signal.Signals(number)]


@contextlib.contextmanager
def _handling(handle: Callable[[int], None]) -> Iterator[None]:
    """Hands SIGINT and SIGTERM to `handle`. They reach only the main thread of a program: elsewhere nothing is done.

    The second Ctrl-C ends the process at once, whatever its threads are at: no file is ever half written.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handler(number: int, frame) -> None:
        if number == signal.SIGINT and seen:
            _write("\nstopped at once.\n")
            os._exit(_CODES[signal.SIGINT])
        seen.append(number)
        handle(number)

    former = {number: signal.signal(number, handler) for number in _CODES}
    try:
        yield
    finally:
        for number, before in former.items():
            # None stands for a handler that was not set from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if before is None else before)


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Raises `Interrupted` on SIGINT and SIGTERM, for work between the loops that save at the next step.

    What such work has finished is on disk already. One of several processes goes on to where all stop together: the
    next loop, or `stop_together`.
    """

    alone = _processes() == 1

    def stop(number: int) -> None:
        if alone:
            raise Interrupted(_kept(number), number)
        _asked.append(number)

    return _handling(stop)


def stop_together() -> None:
    """Raises `Interrupted` on all processes where a signal has reached one of them; they call this together.

    A process that is alone is stopped by the signal itself.
    """
    if _processes() > 1 and (number := _of_all(max(_asked, default=0))):
        raise Interrupted(_kept(number), number)


class Interruption(contextlib.ExitStack):
    """Turns the first interrupt or termination signal into a request, for as long as it is entered.

    The loop asks `requested` after each step.
    """

    _number = 0

    def __enter__(self) -> "Interruption":
        self._number = max(_asked, default=0)
        self.enter_context(_handling(self._handle))
        return self

    def requested(self, *, meeting: bool = True) -> int:
        """The signal that asks for an end, 0 for none: of any process, where they come together, else of none.

        Args:
          meeting: whether all processes call this now. To find out they wait for each other, so a loop on several
            hosts asks where it waits anyway.
        """
        if _processes() == 1:
            return self._number
        return _of_all(self._number) if meeting else 0

    def _handle(self, number: int) -> None:
        if not self._number:
            self._number = number
            _write(f"\n{signal.Signals(number).name}: saving, then stopping. Ctrl-C stops at once.\n")


def _processes() -> int:
    import jax  # late, so that the command line can name `Interrupted` at once

    return jax.process_count()


def _of_all(number: int) -> int:
    from rnas.training.hosts import gathered

    return int(gathered(number).max())


def _kept(number: int) -> str:
    return f"{signal.Signals(number).name}: stopped; everything finished so far is kept."


def _write(text: str) -> None:
    os.write(2, text.encode())  # not print(): the signal may have come in the middle of one
