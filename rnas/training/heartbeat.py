"""A sign of life of a process of several, for the one that watches it; see `rnas.cli.supervisor`."""

import contextlib
import os

VARIABLE = "RNAS_HEARTBEAT"  # number of the pipe that leads to the watcher


def beat(what: str = "") -> None:
    """Says that the process goes on, and in one line what it is at, if that is new. Nothing where nobody watches."""
    if number := os.environ.get(VARIABLE):
        with contextlib.suppress(OSError):  # the pipe is full, or the watcher is gone: this work must not wait
            os.write(int(number), f"{what}\n".encode())


def is_watched() -> bool:
    """Whether there is someone to hear a `beat`."""
    return VARIABLE in os.environ
