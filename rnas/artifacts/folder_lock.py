"""The lock of a folder: of two processes that would write the same files one is refused, and told who works there.

The record of who has the lock also tells others, such as `rnas status`, whether somebody works there.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import datetime
import errno
import os
from pathlib import Path
import socket
import time
import warnings

import filelock

from rnas.artifacts.record import Count, Record

LOCK, OWNER = ".lock", ".owner.json"
SILENT = 600.0  # seconds without a sign of life, after which a process of another host counts as gone
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Owner(Record):
    """The process that works in a folder, the content of `OWNER`; of several hosts it is that of the first."""

    host: str
    process: Count  # its id on that host
    since: str  # date and time, ISO 8601 with a time zone
    began: str = ""  # what the system has as the time of its start, which tells it from a later one of the same id

    @classmethod
    def here(cls) -> Owner:
        """This process, from now on."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), now, _beginning(os.getpid()))

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it belongs to this host, which alone knows of its end."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether there is such a process on this host."""
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # that of another user
            pass
        return _beginning(self.process) == self.began


def _beginning(process: int) -> str:
    """Ticks from the start of the system to that of a process; '' where the system does not have them (not Linux)."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def is_at_work(folder: Path, *signs: str) -> bool:
    """Whether a process works in a folder, as far as can be told: one that was killed leaves its record.

    Args:
      signs: files there that it writes now and then, by which one of another host is known to be alive.
    """
    owner = _owner(folder)
    if owner is None:
        return False
    if owner.is_here:
        return owner.is_alive
    written = [path.stat().st_mtime for name in (OWNER, *signs) if (path := folder / name).exists()]
    return time.time() - max(written) < SILENT


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
        found = _owner(folder)
        who = f"{found}," if found else "another process"
        raise ValueError(f"{who} works in {folder}. Wait for its end, or stop it{remedy}.") from error
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in UNSUPPORTED:
            raise
        warnings.warn(f"the file system of {folder} has no locks: start one process there at a time.", stacklevel=3)
    try:
        Owner.here().write(folder / OWNER)
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(folder: Path) -> Owner | None:
    try:
        return Owner.read(folder / OWNER)
    except (OSError, ValueError):  # nobody, or one who has not written it yet
        return None
