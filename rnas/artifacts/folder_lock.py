"""The lock of a folder: of two processes that would write the same files one is refused, and told who works there."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import datetime
import errno
import os
from pathlib import Path
import socket
import warnings

import filelock

from rnas.artifacts.record import Record

LOCK, OWNER = ".lock", ".owner.json"
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Owner(Record):
    """Who works in a folder, the content of `OWNER`; what a process that was killed has left there means nothing."""

    host: str
    process: int  # its id on that host
    since: str  # date and time, ISO 8601 with a time zone

    @classmethod
    def here(cls) -> Owner:
        """This process, from now on."""
        return cls(socket.gethostname(), os.getpid(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))


@contextlib.contextmanager
def locked(folder: str | os.PathLike, remedy: str = "") -> Iterator[None]:
    """Keeps other processes out of `folder`, which is made if need be, until the end of the block.

    The system gives the lock back when a process ends, however it ends: nobody has to clean up. Where the file system
    has no locks, the block runs without one, with a warning.

    Args:
      remedy: what to do in place of waiting, for the message.

    Raises ValueError where another process has the lock; the message names host, process and time.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise ValueError(f"{_owner(folder)} works in {folder}. Wait for its end, or stop it{remedy}.") from error
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in UNSUPPORTED:
            raise
        warnings.warn(f"the file system of {folder} has no locks: start one process there at a time.", stacklevel=3)
        yield
        return
    try:
        Owner.here().write(folder / OWNER)
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(folder: Path) -> str:
    try:
        owner = Owner.read(folder / OWNER)
    except (OSError, ValueError):  # not written yet, or gone by now
        return "another process"
    return f"process {owner.process} on {owner.host}, since {owner.since},"
