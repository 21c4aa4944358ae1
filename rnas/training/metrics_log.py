"""The record of a run: `metrics.jsonl`, one JSON object a line, and the same as TensorBoard events."""

from collections.abc import Callable, Mapping
import json
import math
import os
from pathlib import Path
import time
from typing import Any

import jax
from tensorboardX import SummaryWriter

from rnas.artifacts.files import write_text

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends the metrics of one stage; does nothing on processes other than the first.

    Args:
      workdir: the run's directory; lines go to `metrics.jsonl`, events to `events/<stage>`.
      stage: which part of the run it is: "teacher", "search", "train", …
    """

    def __init__(self, workdir: str | os.PathLike, stage: str):
        self._path = Path(workdir) / FILE
        self._events = Path(workdir) / "events" / stage
        self._stage = stage
        self._writes = jax.process_index() == 0
        self._writer: SummaryWriter | None = None

    def write(self, step: int, epoch: float, split: str, metrics: Mapping[str, Any]) -> None:
        """Appends one line, whole or not at all, and one event per metric.

        Args:
          step: training step within the stage.
          epoch: the same in passes over the data, fractions included.
          split: "train" or "validation".
          metrics: name to number; NaN and infinities are written as null, and as no event.
        """
        if not self._writes:
            return
        values = {name: float(value) for name, value in metrics.items()}
        record = {"stage": self._stage, "split": split, "step": int(step), "epoch": float(epoch)}
        record["time"] = time.time()
        assert not record.keys() & values.keys(), f"a metric has the name of a field: {sorted(values)}"
        record |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        if self._writer is None:
            self._writer = self._event_writer()
            self._mend()
        with open(self._path, "ab") as stream:
            stream.write((json.dumps(record) + "\n").encode())
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{split}/{name}", value, step, walltime=record["time"])

    def rewind(self, step: int) -> None:
        """Forgets what this stage recorded after `step`, and any line that a crash cut short.

        Called before a run goes on from a checkpoint, so that no step is recorded twice.
        """
        if not self._writes:
            return
        self._rewrite(lambda record: record["stage"] != self._stage or record["step"] <= step)
        if self._events.exists():
            self.close()
            # The event files stay; this one tells TensorBoard to hide what they hold after the step.
            self._writer = self._event_writer(purge_step=step + 1)

    def close(self) -> None:
        """Writes out the events that are still in memory."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _event_writer(self, purge_step: int | None = None) -> SummaryWriter:
        return SummaryWriter(str(self._events), purge_step=purge_step, flush_secs=10)

    def _mend(self) -> None:
        """Cuts a torn last line, so that the next one does not continue it."""
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._rewrite(lambda record: True)

    def _rewrite(self, keep: Callable[[dict], bool]) -> None:
        if self._path.exists():
            kept = [json.dumps(record) + "\n" for record in read_metrics(self._path.parent) if keep(record)]
            write_text(self._path, "".join(kept))


def read_metrics(workdir: str | os.PathLike) -> list[dict]:
    """The records of a run in the order written; empty where there are none yet.

    A line that is no such record, as a crash or a full disk may leave, is passed over.
    """
    path = Path(workdir) / FILE
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.keys() >= {"stage", "split", "step"}:
            records.append(record)
    return records
