"""Appends the metrics of a stage to `metrics.jsonl`, and the same as TensorBoard events."""

from collections.abc import Callable, Mapping
import contextlib
import os
from pathlib import Path
import time
from typing import Any

import jax
from tensorboardX import SummaryWriter

from rnas.artifacts.files import write_text
from rnas.artifacts.metrics import EVENTS, FILE, MetricsRow, read_rows


class MetricsLog(contextlib.AbstractContextManager):
    """The log of one stage of a run: rows in `metrics.jsonl`, events in `events/<stage>`.

    Processes other than the first write nothing.
    """

    def __init__(self, workdir: str | os.PathLike, stage: str):
        self._path = Path(workdir) / FILE
        self._events = Path(workdir) / EVENTS / stage
        self._stage = stage
        self._writes = jax.process_index() == 0
        self._writer: SummaryWriter | None = None

    def write(self, step: int, epoch: float, split: str, metrics: Mapping[str, Any]) -> None:
        """Appends one row, whole or not at all, and one event for each finite metric."""
        if not self._writes:
            return
        row = MetricsRow.of(self._stage, split, step, epoch, time.time(), metrics)
        if self._writer is None:
            self._writer = self._event_writer()
            # A torn last line is cut, so that the next one does not continue it.
            if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
                self._rewrite(lambda row: True)
        with open(self._path, "ab") as stream:
            stream.write(row.line.encode())
        for name, value in row.values.items():
            if value is not None:
                self._writer.add_scalar(f"{split}/{name}", value, step, walltime=row.time)

    def rewind(self, step: int) -> None:
        """Forgets what this stage recorded after `step`, and any line that a crash cut short.

        Called before a run goes on from a checkpoint, so that no step is recorded twice.
        """
        if not self._writes:
            return
        self._rewrite(lambda row: row.stage != self._stage or row.step <= step)
        if self._events.exists():
            self.close()
            # The event files stay; this one makes TensorBoard hide what they hold after the step.
            self._writer = self._event_writer(purge_step=step + 1)

    def close(self) -> None:
        """Writes out the events that are still in memory."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __exit__(self, *exception) -> None:
        self.close()

    def _event_writer(self, purge_step: int | None = None) -> SummaryWriter:
        return SummaryWriter(str(self._events), purge_step=purge_step, flush_secs=10)

    def _rewrite(self, keep: Callable[[MetricsRow], bool]) -> None:
        if self._path.exists():
            write_text(self._path, "".join(row.line for row in read_rows(self._path.parent) if keep(row)))
