"""`run.json`: which stages of a work directory are complete, how long they took, and with what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import datetime
from importlib import metadata
import os
from pathlib import Path
import platform
import time
from typing import Any

import jax

from rnas.artifacts.fields import Fields
from rnas.artifacts.files import write_json

FILE = "run.json"
FORMAT = 2
STATUSES = ("running", "complete")
PACKAGES = ("rnas", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
_REMEDY = "Go on with that version, or start anew in another --workdir."


def versions() -> dict[str, str]:
    """Versions of Python and of every package that enters the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """One stage: `status` of `STATUSES`, seconds over all the processes that worked on it, how often it was begun."""

    status: str
    seconds: float = 0.0
    starts: int = 0


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The content of `run.json`.

    Attributes:
      started: date and time of the first start, ISO 8601 with a time zone.
      command: of the latest start.
      versions: package -> version, of the latest start.
      device: its kind, such as 'cpu' or 'NVIDIA H200'.
      devices: how many, over all hosts.
      stages: name -> record, in the order in which they began.
    """

    started: str
    command: str
    versions: Mapping[str, str]
    device: str
    devices: int
    stages: Mapping[str, StageRecord]

    @classmethod
    def read(cls, path: str | os.PathLike) -> RunRecord:
        """Reads a `run.json`.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it holds something else; the message names file and key. A run of an earlier version is refused.
        """
        fields = Fields.of_file(path)
        fields.check_format(FORMAT, _REMEDY)
        stages = fields.one("stages")
        return cls(
            started=fields.text("started"),
            command=fields.text("command"),
            versions=fields.mapping("versions"),
            device=fields.text("device"),
            devices=fields.whole("devices"),
            stages={name: _stage(stages.one(name)) for name in stages.names},
        )

    def write(self, path: str | os.PathLike) -> None:
        """Writes the file in one step."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **dataclasses.asdict(self)}

    def is_complete(self, stage: str) -> bool:
        return stage in self.stages and self.stages[stage].status == "complete"


def _stage(fields: Fields) -> StageRecord:
    return StageRecord(fields.choice("status", STATUSES), fields.number("seconds"), fields.whole("starts"))


class StageRecorder:
    """Keeps the `run.json` of one work directory while its stages run. Only process 0 writes.

    Raises (on construction):
      ValueError: the directory holds a `run.json` that is none, or one of an earlier version.
    """

    def __init__(self, workdir: str | os.PathLike, command: str):
        self._path = Path(workdir) / FILE
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        former = RunRecord.read(self._path) if self._path.exists() else RunRecord(now, "", {}, "", 0, {})
        devices = jax.devices()
        self.record = dataclasses.replace(
            former, command=command, versions=versions(), device=devices[0].device_kind, devices=len(devices)
        )

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage and marks it complete at the end.

        The time of a process that was killed outright is not known and not counted.
        """
        former = self.record.stages.get(name, StageRecord("running"))
        entry = dataclasses.replace(former, status="running", starts=former.starts + 1)
        self._write(name, entry)
        began = time.monotonic()
        status = "running"
        try:
            yield
            status = "complete"
        finally:
            seconds = round(former.seconds + time.monotonic() - began, 1)
            self._write(name, dataclasses.replace(entry, status=status, seconds=seconds))

    def _write(self, name: str, entry: StageRecord) -> None:
        self.record = dataclasses.replace(self.record, stages={**self.record.stages, name: entry})
        if jax.process_index() == 0:
            self.record.write(self._path)
