"""`metrics.jsonl`: what training reported, one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"
SPLITS = ("train", "validation", "architecture")
_FIELDS = ("stage", "split", "step", "epoch", "time")


@dataclass(frozen=True)
class MetricsRow:
    """The metrics of one stage at one step.

    Attributes:
      stage: "teacher", "search", "train", "baseline_…".
      split: one of `SPLITS`.
      step: training steps done within the stage.
      epoch: the same in passes over the data, fractions included.
      time: seconds since 1970.
      values: metric -> number; None where it was not finite.
    """

    stage: str
    split: str
    step: int
    epoch: float
    time: float
    values: Mapping[str, float | None]

    @classmethod
    def of(cls, stage: str, split: str, step: int, epoch: float, time: float, metrics: Mapping[str, Any]) -> MetricsRow:
        """A row of numbers and scalar arrays; NaN and infinities become None, for which JSON has a word."""
        values = {name: float(value) for name, value in metrics.items()}
        assert not values.keys() & set(_FIELDS), f"a metric has the name of a field: {sorted(values)}"
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        return cls(stage, split, int(step), float(epoch), time, finite)

    @classmethod
    def from_json(cls, content: Any) -> MetricsRow | None:
        """The row of a JSON object; None where it is no row."""
        if not isinstance(content, dict) or not content.keys() >= {"stage", "split", "step"}:
            return None
        values = {name: value for name, value in content.items() if name not in _FIELDS}
        return cls(**{name: content.get(name, 0.0) for name in _FIELDS}, values=values)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIELDS} | dict(self.values)

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
        try:
            row = MetricsRow.from_json(json.loads(line))
        except ValueError:
            continue
        if row is not None:
            rows.append(row)
    return rows
