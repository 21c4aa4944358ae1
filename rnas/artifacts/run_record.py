"""`run.json`: which stages of a work directory are complete, how long they took, and with what."""

import contextlib
import datetime
from importlib import metadata
import os
from pathlib import Path
import platform
import time

import jax

from rnas.artifacts.files import read_json, write_json

FILE = "run.json"
PACKAGES = ("rnas", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of every package that enters the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def read_record(path: Path) -> dict:
    """Reads a `run.json`.

    Raises:
      ValueError: where it is not one.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"command", "stages"} <= content.keys():
        raise ValueError(f"{path} is no record of a run: it lacks command or stages. Use another --workdir.")
    return content


class RunRecord:
    """The stages of one work directory. Only process 0 writes."""

    def __init__(self, workdir: str | os.PathLike, command: str):
        self._path = Path(workdir) / FILE
        if self._path.exists():
            self._content = read_record(self._path)
        else:
            self._content = {
                "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "stages": {},
            }
        devices = jax.devices()
        self._content |= {
            "command": command,
            "versions": versions(),
            "device": devices[0].device_kind,
            "devices": len(devices),
        }

    def is_complete(self, stage: str) -> bool:
        return self._content["stages"].get(stage, {}).get("status") == "complete"

    @contextlib.contextmanager
    def stage(self, name: str):
        """Times a stage, over all the processes that worked on it, and marks it complete at the end.

        The time of a process that was killed outright is not known and not counted.
        """
        entry = self._content["stages"].setdefault(name, {"seconds": 0.0, "starts": 0})
        entry.update(status="running", starts=entry["starts"] + 1)
        self._write()
        before, began = entry["seconds"], time.monotonic()
        try:
            yield
            entry["status"] = "complete"
        finally:
            entry["seconds"] = round(before + time.monotonic() - began, 1)
            self._write()

    def _write(self) -> None:
        if jax.process_index() == 0:
            write_json(self._path, self._content)
