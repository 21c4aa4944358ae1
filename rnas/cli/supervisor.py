"""One process of several, watched by another: where its peers are lost it ends at once, with a line that says so.

JAX ends a process whose peers have died deep inside a library, or not at all. So `rnas` starts the process that works
as a child, hears where it stands, and tells how it ended. The parent needs neither JAX nor a device.
"""

import argparse
from collections.abc import Callable, Sequence
import contextlib
import os
from pathlib import Path
import re
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
import traceback

from rnas.training.heartbeat import VARIABLE, is_watched
from rnas.training.interruption import AGAIN
from rnas.training.messages import program, write

LOST = 70  # of the child: a collective failed, because another process has gone
_STATUS = re.compile(r"(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION)\b.*: ")


def is_one_of_several(arguments: argparse.Namespace) -> bool:
    """Whether the command line says that this process is one of several."""
    given = [getattr(arguments, name, None) for name in ("coordinator", "processes", "process_id")]
    return getattr(arguments, "distributed", False) or any(value is not None for value in given)


def supervise(argv: Sequence[str], patience: float) -> int:
    """Runs `rnas` with the arguments `argv` as a child, hands signals on, and returns its exit code.

    A child that gives no sign of life for `patience` seconds after its first one is killed; 0 waits for ever. Where it
    did not end by itself, or lost the others, the last line says so and the code is `AGAIN`.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    module = Path(sys.argv[0]).name == "main.py"
    called = [sys.executable, *(["-m", "rnas.main"] if module else [sys.argv[0]]), *argv]
    # In a group of its own: Ctrl-C reaches this process alone, which hands it on.
    child = subprocess.Popen(
        called, env={**os.environ, VARIABLE: str(writing)}, pass_fds=[writing], process_group=0
    )  # fmt: skip
    os.close(writing)
    former = {
        number: signal.signal(number, lambda number, frame: child.send_signal(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        doing, silent = _listen(reading, patience)
        if silent:
            child.kill()
        code = child.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(reading)
    if code >= 0 and code != LOST:
        return code
    if silent:
        why = f"no sign of life for {patience:.0f} s (--watchdog={patience:.0f}); stopped"
    elif code == LOST or code == -signal.SIGABRT:
        why = "lost another process, or the connection to it"
    else:
        why = f"ended by {signal.Signals(-code).name}"
    write(
        f"rnas: {socket.gethostname()}, process {os.getpid()}: {why}; it was at: {doing}. Nothing that was saved is "
        f"lost. To go on, on all hosts:\n  {program()} {shlex.join(argv)}"
    )
    return AGAIN


def leave(run: Callable[[], int]) -> int:
    """Calls `run` in a supervised process and returns its exit code 0; with any other one the process ends here.

    Otherwise it would wait at its end for peers that wait for it.
    """
    if not is_watched():
        return run()
    try:
        code = run()
    except Exception as error:
        code = 1
        if lost_others(error):
            write(f"rnas: {str(error).splitlines()[0]}")
            code = LOST
        else:
            traceback.print_exc()
    if code:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    return code


def lost_others(error: BaseException) -> bool:
    """Whether an error is that of a collective or of the service that counts the processes."""
    return is_watched() and _STATUS.match(str(error)) is not None


def _listen(reading: int, patience: float) -> tuple[str, bool]:
    """What the child was at when it ended, and whether it was silent for too long instead."""
    doing, heard = "its start", None  # a child that does not find the others gives up by itself
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=1.0):
                if not (text := os.read(reading, 65536)):
                    return doing, False
                said = [line for line in text.decode(errors="replace").splitlines() if line]
                doing, heard = said[-1] if said else doing, time.monotonic()
            elif patience and heard is not None and time.monotonic() - heard > patience:
                return doing, True
