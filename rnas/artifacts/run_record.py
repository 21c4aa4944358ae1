"""`run.json`: which stages of a work directory are complete, how long they took, and with what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import datetime
from importlib import metadata
import os
from pathlib import Path
import platform
import time
from typing import Annotated

import jax

from rnas.artifacts.record import Count, Number, Record, one_of

FILE = "run.json"
PACKAGES = ("rnas", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of every package that enters the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def precision(shorter: Sequence[str] = ()) -> str:
    """In what models are judged here; an accelerator shortens matrix products unless it is told not to.

    `shorter` are types below float32 that a model computes in by itself; losses and verdicts do not.
    """
    own = f"{' and '.join(shorter)} inside the model, else " if shorter else ""
    return f"{own}float32, matrix products {getattr(jax.config, 'jax_default_matmul_precision', None) or 'default'}"


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """One stage: `seconds` over all the processes that worked on it, and how often it was begun."""

    status: Annotated[str, one_of("running", "complete")]
    seconds: Number = 0.0
    starts: Count = 0


@dataclasses.dataclass(frozen=True)
class RunRecord(Record):
    """The content of `run.json`."""

    format = 2
    earlier = "Go on with that version, or start anew in another --workdir."

    started: str  # date and time of the first start, ISO 8601 with a time zone
    command: str  # of the latest start
    versions: Mapping[str, str]  # package -> version, of the latest start
    device: str  # its kind, such as 'cpu' or 'NVIDIA H200'
    devices: Count  # how many, over all hosts
    stages: Mapping[str, StageRecord]  # name -> record, in the order in which they began

    def is_complete(self, stage: str) -> bool:
        return stage in self.stages and self.stages[stage].status == "complete"


class StageRecorder:
    """Keeps the `run.json` of one work directory while its stages run. Only process 0 writes. Raises as `read`."""

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
        stages = {**self.record.stages, name: entry}
        self.record = dataclasses.replace(self.record, stages=stages)
        if jax.process_index() == 0:
            self.record.write(self._path)
