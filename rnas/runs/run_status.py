"""How far a run has come, read from its work directory while it runs, or after it was stopped."""

from collections.abc import Mapping
import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rnas.artifacts.folder_lock import is_at_work
from rnas.artifacts.metrics import FILE as METRICS
from rnas.artifacts.metrics import read_rows
from rnas.artifacts.run_record import FILE, RunRecord
from rnas.config import recorded_config
from rnas.runs.recipes import BASELINE, TEACHERS, recipe
from rnas.runs.stages import NAMES
from rnas.training.messages import duration

DEPTH = 3  # folders below runs/ in which runs are looked for: runs/<folder>/<name>/seed_<n>


def status(workdir: Path) -> dict[str, Any]:
    """State, seconds and starts of every stage; of the one that is not complete also steps, rate and time left.

    Raises ValueError where no run has begun, or one of an earlier version has.
    """
    if not (workdir / FILE).exists():
        raise ValueError(f"{workdir} holds no run: expected {FILE!r} there. Start one with rnas run.")
    record = RunRecord.read(workdir / FILE)
    stages: dict[str, dict[str, Any]] = {stage: {"status": "waiting"} for stage in NAMES}
    for stage, entry in record.stages.items():
        stages[stage] = dataclasses.asdict(dataclasses.replace(entry, files=None))
        del stages[stage]["files"]
        if entry.status == "running":
            runs = is_at_work(workdir, FILE, METRICS)
            stages[stage] |= {"status": "running" if runs else "interrupted", **_progress(workdir, stage, runs)}
    return {"workdir": str(workdir), "command": record.command, "stages": stages}


def runs_below(folder: Path) -> list[Path]:
    """The work directories of runs in a folder and below, by name."""
    found = [path.parent for depth in range(DEPTH + 1) for path in folder.glob("*/" * depth + FILE)]
    return sorted(found)


def as_text(found: Mapping[str, Any]) -> str:
    """The answer of `status` for a reader: one line a stage."""
    width = max(map(len, found["stages"])) + 2
    lines = [found["workdir"], *(f"  {name.ljust(width)}{_words(stage)}" for name, stage in found["stages"].items())]
    return "\n".join([*lines, "begun by", f"  {found['command']}"])


def summary(found: Mapping[str, Any]) -> str:
    """The same in one line: what is going on, or how far it is."""
    stages = found["stages"]
    for name, stage in stages.items():
        if stage["status"] not in ("complete", "waiting"):
            return f"{name} {_words(stage)}"
    done = [name for name, stage in stages.items() if stage["status"] == "complete"]
    if len(done) == len(stages):
        return f"complete, {duration(sum(stages[name]['seconds'] for name in done))}"
    return f"stopped after {done[-1]}" if done else "not begun"


def _words(stage: Mapping[str, Any]) -> str:
    words = stage["status"]
    if "step" in stage:
        network = f" of {stage['network']}" if stage.get("network") else ""
        words += f" at step {stage['step']:,} of {stage['total']:,}{network}"
    if stage.get("rate"):
        words += f", {stage['rate']:.1f} steps/s, {duration(stage['left'])} left"
    return f"{words}, {duration(stage['seconds'])}" if stage.get("seconds") else words


def _progress(workdir: Path, stage: str, runs: bool) -> dict[str, Any]:
    """Steps done and in all, rate and seconds left of the network that the stage trains; empty before its first row."""
    rows = [row for row in read_rows(workdir) if row.split == "train" and row.step and _belongs(row.stage, stage)]
    if not rows:
        return {}
    last = rows[-1]
    epochs = _epochs(recorded_config(workdir), last.stage)
    per_epoch = last.step / last.epoch if last.epoch else last.step
    found: dict[str, Any] = {"step": last.step, "total": round(epochs * per_epoch)}
    if last.stage != stage:
        found["network"] = last.stage
    before = [row for row in rows[:-1] if row.stage == last.stage and row.step < last.step]
    if runs and before and last.time > before[-1].time:
        found["rate"] = (last.step - before[-1].step) / (last.time - before[-1].time)
        found["left"] = (found["total"] - last.step) / found["rate"]
    return found


def _belongs(trained: str, stage: str) -> bool:
    """Whether what trained is part of a stage of the run."""
    if stage == "baselines":
        return trained.startswith((BASELINE, "search_"))
    return trained in TEACHERS if stage == "teacher" else trained == stage


def _epochs(config: ConfigDict, trained: str) -> int:
    return config.search.epochs if trained.startswith("search") else recipe(config, trained).epochs
