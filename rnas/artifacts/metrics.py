"""`metrics.jsonl`: what training reported, one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
from dataclasses import dataclass, field
import json
import math
import os
from pathlib import Path
from typing import Any

from rnas.artifacts.files import parse_json
from rnas.artifacts.record import Count, Number, Record

FILE = "metrics.jsonl"
EVENTS = "events"  # folder of the same figures as TensorBoard events
SPLITS = ("train", "validation", "architecture")


@dataclass(frozen=True)
class MetricsRow(Record):
    """The metrics of one stage at one step."""

    beside = ("values",)

    stage: str  # "teacher", "search", "train", "baseline_…"
    split: str  # one of `SPLITS`
    step: Count  # training steps done within the stage
    epoch: Number = 0.0  # the same in passes over the data, fractions included
    time: Number = 0.0  # seconds since 1970
    values: Mapping[str, Number | None] = field(default_factory=dict)  # metric -> number; None where it was not finite

    @classmethod
    def of(cls, stage: str, split: str, step: int, epoch: float, time: float, metrics: Mapping[str, Any]) -> MetricsRow:
        """A row of numbers and scalar arrays; NaN and infinities become None, for which JSON has a word."""
        values = {name: float(value) for name, value in metrics.items()}
        taken = values.keys() & cls.__dataclass_fields__.keys()
        assert not taken, f"a metric has the name of a field: {sorted(taken)}"
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        return cls(stage, split, int(step), float(epoch), time, finite)

    @property
    def line(self) -> str:
        return json.dumps(self.to_json()) + "\n"


def read_rows(workdir: str | os.PathLike) -> list[MetricsRow]:
    """The rows of a run in the order written; empty where there are none yet.

    A line that is no row, as a crash or a full disk may leave, is passed over.
    """
    path = Path(workdir) / FILE
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            rows.append(MetricsRow.from_json(parse_json(line, path)))
    return rows
