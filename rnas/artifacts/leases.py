"""Who works at which piece of work in a folder that many workers share, on one machine or on many.

A worker claims a piece by a file that it alone can make, and renews it for as long as it lives. A lease that nobody
renews is taken over. Time is that of the file system, so the clocks of the workers do not matter. Two workers may come
to hold the same piece where one was suspended for longer than a lease lasts: that costs work and changes no result, as
long as a piece has the same result whoever does it.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import os
from pathlib import Path
import threading
import uuid

from rnas.artifacts.files import create_json
from rnas.artifacts.folder_lock import Owner
from rnas.artifacts.record import Record

FOLDER, SUFFIX = "leases", ".json"
LASTS = 300.0  # seconds without a sign of life
RENEWALS = 10  # within that time


@dataclass(frozen=True)
class Lease(Record):
    """The content of a lease: who holds it."""

    owner: Owner
    token: str  # of this claim alone

    @classmethod
    def own(cls) -> Lease:
        return cls(Owner.here(), uuid.uuid4().hex)


class Leases:
    """The leases of one work directory, in its folder `leases`.

    Args:
      lasts: seconds after which a lease that was not renewed may be taken over; the same for all workers.
    """

    def __init__(self, workdir: Path, lasts: float = LASTS):
        self._folder, self._lasts = Path(workdir) / FOLDER, lasts

    @contextlib.contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Whether the piece `name` is this worker's until the end of the block; False where another one has it."""
        lease, path = Lease.own(), self._folder / f"{name}{SUFFIX}"
        with contextlib.suppress(FileNotFoundError):  # nobody has it, or another worker was quicker
            self._remove_stale(path)
        create_json(path, lease.to_json())
        if not self._is_held(path, lease):
            yield False
            return
        ended = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(path, lease, ended), daemon=True)
        renewal.start()
        try:
            yield True
        finally:
            ended.set()
            renewal.join()
            if self._is_held(path, lease):
                path.unlink(missing_ok=True)

    def holder(self, name: str) -> Owner | None:
        """The worker that holds the piece `name` and lives, if there is one."""
        path = self._folder / f"{name}{SUFFIX}"
        try:
            return None if self._is_stale(path) else Lease.read(path).owner
        except (OSError, ValueError):  # given back meanwhile
            return None

    def holders(self) -> dict[str, Owner]:
        """The workers that live, by the name of the piece that each holds."""
        names = (path.name.removesuffix(SUFFIX) for path in sorted(self._folder.glob(f"*{SUFFIX}")))
        return {name: owner for name in names if (owner := self.holder(name))}

    def _renew(self, path: Path, lease: Lease, ended: threading.Event) -> None:
        while not ended.wait(self._lasts / RENEWALS):
            with contextlib.suppress(OSError):  # taken over, or a file system that is away for a while
                if self._is_held(path, lease):
                    os.utime(path)

    def _is_held(self, path: Path, lease: Lease) -> bool:
        try:
            return Lease.read(path).token == lease.token
        except (OSError, ValueError):
            return False

    def _remove_stale(self, path: Path) -> None:
        content = path.read_bytes()
        if self._is_stale(path):
            aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            path.rename(aside)
            if aside.read_bytes() != content:  # that of a worker which took it over meanwhile
                with contextlib.suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()

    def _is_stale(self, path: Path) -> bool:
        """Whether the lease was not renewed for too long, by the clock of the file system."""
        clock = self._folder / f".clock.{uuid.uuid4().hex}"
        try:
            clock.touch()
            return clock.stat().st_mtime - path.stat().st_mtime > self._lasts
        except FileNotFoundError:  # given back meanwhile
            return False
        finally:
            clock.unlink(missing_ok=True)
