"""When programs are compiled."""

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

from jax import monitoring
from jaxlib import utils

_BEGINS = "/jax/compilation_cache/compile_requests_use_cache"
_ENDS = "/jax/core/compile/backend_compile_duration"
_FATAL = 3  # level of what C++ writes to standard error


class Compiling:
    """Watches from now on what JAX compiles in any thread, and keeps XLA quiet meanwhile.

    XLA takes a compilation of more than two minutes for an error and writes that to standard error, over a bar of
    progress. What fails in a compilation raises an exception, so nothing is lost.

    Attributes:
      now: whether something is being compiled; always False where JAX keeps no cache of programs.
      seconds: spent on compiling so far, of all threads together.
    """

    def __init__(self):
        self.seconds = 0.0
        self._running = 0
        monitoring.register_event_listener(self._begin)
        monitoring.register_event_duration_secs_listener(self._end)

    @property
    def now(self) -> bool:
        return self._running > 0

    def _begin(self, event: str, **_: Any) -> None:
        if event == _BEGINS:
            self._count(self._running + 1)

    def _end(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == _ENDS:
            self.seconds += duration_secs
            self._count(max(0, self._running - 1))

    def _count(self, running: int) -> None:
        self._running = running
        usual = int(os.environ.get("TF_CPP_MIN_LOG_LEVEL") or 1)
        utils.absl_set_min_log_level(_FATAL if running else usual)


@functools.cache
def compiling() -> Compiling:
    """The one watcher of this process."""
    return Compiling()


def prune(folder: Path, limit: int) -> None:
    """Removes the compiled programs that were not used for longest, until `folder` holds no more than `limit` bytes.

    JAX can do so itself, but one kill at a bad moment then leaves a folder to which it writes nothing any more.
    """
    found = []
    for path in folder.glob("*-cache") if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # removed by another process meanwhile
            entry = path.stat()
            found.append((max(entry.st_atime, entry.st_mtime), entry.st_size, path))
    size = sum(each for _, each, _ in found)
    for _, each, path in sorted(found):
        if size <= limit:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        size -= each
