"""`run.json`: which stages of a work directory are complete, how long they took, and with what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import datetime
from importlib import metadata
import os
from pathlib import Path
import platform
import time
from typing import Annotated, Any

import jax

from rnas.artifacts.record import LEFT_OUT, Count, Number, Record, one_of

FILE = "run.json"
SETTINGS = (  # of JAX: which random numbers are drawn, and how is computed with them
    "jax_default_prng_impl", "jax_threefry_partitionable", "jax_enable_x64", "jax_default_matmul_precision",
)  # fmt: skip
FORMER_SETTINGS: Mapping[str, bool | str | None] = {  # with which runs were begun that did not record them
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_enable_x64": False,
}
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


def settings() -> dict[str, bool | str | None]:
    """The values that `SETTINGS` have here."""
    return {name: getattr(jax.config, name, None) for name in SETTINGS}


def check_settings(recorded: Mapping[str, bool | str | None], workdir: str | os.PathLike) -> None:
    """Raises ValueError where JAX has other settings than `recorded`; the message names both, and how to set them."""
    present = settings()
    wrong = [name for name, value in recorded.items() if name in present and present[name] != value]
    if wrong:
        rows = "\n".join(f"  {name}: {recorded[name]} recorded, {present[name]} now" for name in wrong)
        how = " ".join(f"-u {name.upper()}" for name in wrong if recorded[name] is None)
        how += " ".join(f"{name.upper()}={recorded[name]}" for name in wrong if recorded[name] is not None)
        raise ValueError(
            f"{workdir} holds a run that JAX computed with other settings; its numbers would change half way:\n{rows}\n"
            f"Start it with the recorded ones, env {how} rnas …, or use another --workdir."
        )


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """One stage: `seconds` over all starts, `compiling` those of them spent on that, by all threads together."""

    status: Annotated[str, one_of("running", "complete")]
    seconds: Number = 0.0
    starts: Count = 0
    compiling: Annotated[Number | None, LEFT_OUT] = None  # files of earlier versions lack it
    files: Annotated[Mapping[str, str] | None, LEFT_OUT] = None  # sha256 of all it has left; None: it was not recorded

    def __post_init__(self):
        for name in self.files or ():
            if Path(name).is_absolute() or ".." in Path(name).parts:  # they may be renamed
                raise ValueError(f"files: expected paths within the work directory, got {name!r:.60}")


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
    # Settings of JAX that numbers depend on, those of the first start; None: `FORMER_SETTINGS`.
    settings: Annotated[Mapping[str, bool | str | None] | None, LEFT_OUT] = None
    anew: Annotated[str | None, LEFT_OUT] = None  # a stage that is made anew with all after it, until that is done

    def is_complete(self, stage: str) -> bool:
        return stage in self.stages and self.stages[stage].status == "complete"


class StageRecorder:
    """Keeps the `run.json` of one work directory while its stages run. Only process 0 writes.

    Raises as `read`, and ValueError where JAX has other settings than those that the run was begun with.
    """

    def __init__(self, workdir: str | os.PathLike, command: str):
        self._path = Path(workdir) / FILE
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        former = RunRecord.read(self._path) if self._path.exists() else RunRecord(now, "", {}, "", 0, {})
        if former.stages:
            check_settings(FORMER_SETTINGS if former.settings is None else former.settings, workdir)
        devices = jax.devices()
        self.record = dataclasses.replace(
            former, command=command, versions=versions(), device=devices[0].device_kind, devices=len(devices),
            settings=settings(),
        )  # fmt: skip

    def reopen(self, stage: str) -> None:
        """Makes a stage one that is not complete; what it had left stays on record."""
        self._write(stage, dataclasses.replace(self.record.stages[stage], status="running"))

    def forget(self, stages: Sequence[str], anew: str) -> None:
        """Drops stages, which are made anew from `anew` on."""
        kept = {name: entry for name, entry in self.record.stages.items() if name not in stages}
        self._update(stages=kept, anew=anew)

    def finish(self) -> None:
        """What was made anew is done."""
        if self.record.anew:
            self._update(anew=None)

    @contextlib.contextmanager
    def stage(
        self,
        name: str,
        left: Callable[[], Mapping[str, str]] | None = None,
        compiled: Callable[[], float] | None = None,
    ) -> Iterator[None]:
        """Times a stage and marks it complete at the end.

        The time of a process that was killed outright is not known and not counted.

        Args:
          left: what the stage has left when it is complete, file -> sha256, on the first process; None: not recorded.
          compiled: seconds that this process has spent on compiling so far; None: not recorded.
        """
        former = self.record.stages.get(name, StageRecord("running"))
        entry = dataclasses.replace(former, status="running", starts=former.starts + 1)
        self._write(name, entry)
        began, before = time.monotonic(), compiled() if compiled else 0.0
        status, files = "running", former.files
        try:
            yield
            files = left() if left and jax.process_index() == 0 else None
            status = "complete"
        finally:
            seconds = round(former.seconds + time.monotonic() - began, 1)
            compiling = round((former.compiling or 0) + compiled() - before, 1) if compiled else former.compiling
            ended = dataclasses.replace(entry, status=status, seconds=seconds, compiling=compiling, files=files)
            self._write(name, ended)

    def _write(self, name: str, entry: StageRecord) -> None:
        self._update(stages={**self.record.stages, name: entry})

    def _update(self, **fields: Any) -> None:
        self.record = dataclasses.replace(self.record, **fields)
        if jax.process_index() == 0:
            self.record.write(self._path)
