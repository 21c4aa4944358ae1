"""How far a run has come, read from its work directory while it runs, or after it was stopped."""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rnas.artifacts.folder_lock import is_at_work
from rnas.artifacts.metrics import FILE as METRICS
from rnas.artifacts.metrics import MetricsRow, read_rows
from rnas.artifacts.run_record import FILE, RunRecord
from rnas.config import recorded_config
from rnas.runs.recipes import BASELINE, TEACHERS, recipe
from rnas.runs.stages import NAMES, stages_of
from rnas.training.messages import duration


def is_one(workdir: Path) -> bool:
    """Whether a folder is the work directory of a run."""
    return (workdir / FILE).exists()


def status(workdir: Path) -> dict[str, Any]:
    """State, seconds and starts of every stage that the run has; of one not complete also steps, rate and time left.

    Raises ValueError where no run has begun, or one of an earlier version has.
    """
    if not is_one(workdir):
        raise ValueError(f"{workdir} holds no run: expected {FILE!r} there. Start one with rnas run.")
    record, own = RunRecord.read(workdir / FILE), NAMES
    with contextlib.suppress(ValueError):  # no configuration, or one of another version
        own = stages_of(recorded_config(workdir))
    stages: dict[str, dict[str, Any]] = {stage: {"status": "waiting"} for stage in own}
    for stage, entry in record.stages.items():
        facts = dataclasses.asdict(dataclasses.replace(entry, files=None))
        del facts["files"]  # checksums are for the run
        if entry.compiling is None:
            del facts["compiling"]
        if entry.status == "running":
            runs = is_at_work(workdir, FILE, METRICS)
            state = {"status": "running" if runs else "interrupted"}
            stages[stage] = facts | state | _progress(workdir, stage, runs)
        elif stage in own:
            stages[stage] = facts
    return {"workdir": str(workdir), "command": record.command, "stages": stages}


def as_text(found: Mapping[str, Any]) -> str:
    """The answer of `status` for a reader: one line a stage."""
    width = max(map(len, found["stages"])) + 2
    lines = [found["workdir"], *(f"  {name.ljust(width)}{words(stage)}" for name, stage in found["stages"].items())]
    return "\n".join([*lines, "begun by", f"  {found['command']}"])


def summary(found: Mapping[str, Any]) -> str:
    """The same in one line: what is going on, or how far it is."""
    stages = found["stages"]
    for name, stage in stages.items():
        if stage["status"] not in ("complete", "waiting"):
            return f"{name} {words(stage)}"
    done = [name for name, stage in stages.items() if stage["status"] == "complete"]
    if len(done) == len(stages):
        return f"complete, {duration(sum(stages[name]['seconds'] for name in done))}"
    return f"stopped after {done[-1]}" if done else "not begun"


def words(stage: Mapping[str, Any]) -> str:
    """A state, with what goes with it."""
    text = stage["status"]
    if "step" in stage:
        network = f" of {stage['network']}" if stage.get("network") else ""
        text += f" at step {stage['step']:,} of {stage['total']:,}{network}"
    if stage.get("rate"):
        text += f", {stage['rate']:.1f} steps/s, {duration(stage['left'])} left"
    return f"{text}, {duration(stage['seconds'])}" if stage.get("seconds") else text


def progress(rows: Sequence[MetricsRow], epochs: int, runs: bool) -> dict[str, Any]:
    """Steps done and in all of a network, from what its training reported; empty before that.

    Args:
      epochs: that it trains for.
      runs: whether it is being trained: then there are also a rate, in steps a second, and the seconds left.
    """
    if not rows:
        return {}
    last, before = rows[-1], [row for row in rows if row.step < rows[-1].step]
    per_epoch = last.step / last.epoch if last.epoch else last.step
    found: dict[str, Any] = {"step": last.step, "total": round(epochs * per_epoch)}
    if runs and before and last.time > before[-1].time:
        found["rate"] = (last.step - before[-1].step) / (last.time - before[-1].time)
        found["left"] = (found["total"] - last.step) / found["rate"]
    return found


def _progress(workdir: Path, stage: str, runs: bool) -> dict[str, Any]:
    """Those of the network that the stage trains; it is named where it is one of several."""
    rows = [row for row in trained_rows(workdir) if _belongs(row.stage, stage)]
    if not rows:
        return {}
    name = rows[-1].stage
    epochs = _epochs(recorded_config(workdir), name)
    named = {"network": name} if name != stage else {}
    return progress([row for row in rows if row.stage == name], epochs, runs) | named


def trained_rows(workdir: Path) -> list[MetricsRow]:
    """What training has reported in a folder."""
    return [row for row in read_rows(workdir) if row.split == "train" and row.step]


def _belongs(trained: str, stage: str) -> bool:
    """Whether what trained is part of a stage of the run."""
    if stage == "baselines":
        return trained.startswith((BASELINE, "search_"))
    return trained in TEACHERS if stage == "teacher" else trained == stage


def _epochs(config: ConfigDict, trained: str) -> int:
    return config.search.epochs if trained.startswith("search") else recipe(config, trained).epochs
