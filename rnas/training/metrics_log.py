"""Appends the metrics of a stage to `metrics.jsonl`, and hands them to the trackers of the run."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import os
from pathlib import Path
import time
from typing import Any

import jax

from rnas.artifacts.files import write_text
from rnas.artifacts.metrics import FILE, MetricsRow, read_rows
from rnas.training.messages import say
from rnas.training.trackers import TRACKERS, Tracker


class MetricsLog(contextlib.AbstractContextManager):
    """The log of one stage of a run: rows in `metrics.jsonl`, the same for its trackers.

    Processes other than the first write nothing.

    Args:
      trackers: names of `rnas.training.trackers.TRACKERS`.
    """

    def __init__(self, workdir: str | os.PathLike, stage: str, trackers: Sequence[str] = ("tensorboard",)):
        self._workdir, self._stage, self._names = Path(workdir), stage, trackers
        self._path = self._workdir / FILE
        self._writes = jax.process_index() == 0
        self._trackers: list[Tracker] | None = None  # made by the first row
        self._begins: int | None = None  # the step from which the stage goes on

    def write(self, step: int, epoch: float, split: str, metrics: Mapping[str, Any]) -> None:
        """Appends one row, whole or not at all, and hands it to the trackers."""
        if not self._writes:
            return
        row = MetricsRow.of(self._stage, split, step, epoch, time.time(), metrics)
        # A torn last line is cut, so that the next one does not continue it.
        if self._trackers is None and self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._rewrite(lambda row: True)
        self._workdir.mkdir(parents=True, exist_ok=True)
        with open(self._path, "ab") as stream:
            stream.write(row.line.encode())
        for tracker in tuple(self._opened()):
            try:
                tracker.log(row)
            except Exception as error:  # whatever a library or its server does: the row is on disk, the run goes on
                say(f"warning: {type(tracker).__name__} takes no more rows ({error}); {self._path} has them all.")
                self._opened().remove(tracker)

    def rewind(self, step: int) -> None:
        """Forgets what this stage recorded after `step`, and any line that a crash cut short.

        Called before a run goes on from a checkpoint, so that no step is recorded twice.
        """
        if not self._writes:
            return
        self._rewrite(lambda row: row.stage != self._stage or row.step <= step)
        self.close()
        self._begins = step

    def close(self) -> None:
        """Writes out what trackers still hold in memory."""
        for tracker in self._trackers or ():
            tracker.close()
        self._trackers = None

    def __exit__(self, *exception) -> None:
        self.close()

    def _opened(self) -> list[Tracker]:
        if self._trackers is None:
            self._trackers = [TRACKERS[name](self._workdir, self._stage) for name in self._names]
            if self._begins is not None:
                for tracker in self._trackers:
                    tracker.rewind(self._begins)
            self._begins = None
        return self._trackers

    def _rewrite(self, keep: Callable[[MetricsRow], bool]) -> None:
        if self._path.exists():
            write_text(self._path, "".join(row.line for row in read_rows(self._path.parent) if keep(row)))
