"""What a worker could not do, and why: a mark that keeps others from trying, until someone wants it tried again."""

from __future__ import annotations

from dataclasses import dataclass
import datetime
from pathlib import Path
import socket

from rnas.artifacts.record import Record

FOLDER = "failed"


@dataclass(frozen=True)
class Failure(Record):
    """The content of the mark of one piece of work."""

    error: str
    host: str
    when: str  # date and time, ISO 8601 with a time zone

    @classmethod
    def of(cls, error: Exception) -> Failure:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(str(error), socket.gethostname(), now)


def failure_file(workdir: Path, name: str) -> Path:
    """The mark of the piece `name`, which need not be there."""
    return Path(workdir) / FOLDER / f"{name}.json"


def failures(workdir: Path) -> dict[str, Failure]:
    """The marks in a work directory, by the name of the piece. Raises ValueError where one cannot be read."""
    return {path.stem: Failure.read(path) for path in sorted((Path(workdir) / FOLDER).glob("*.json"))}


def forget_failures(workdir: Path) -> list[str]:
    """Removes all marks and returns the names of their pieces, which will be tried again."""
    names = sorted(failures(workdir))
    for name in names:
        failure_file(workdir, name).unlink(missing_ok=True)
    return names
