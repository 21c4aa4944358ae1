"""How far a table of networks has come, read from its work directory while processes work there."""

from collections.abc import Mapping
import contextlib
from pathlib import Path
from typing import Any

from rnas.artifacts.failure import failures
from rnas.artifacts.files import read_object
from rnas.artifacts.leases import Leases
from rnas.artifacts.metrics import FILE as METRICS
from rnas.artifacts.table_results import FOLDER
from rnas.config import recorded_config
from rnas.runs.run_status import progress, trained_rows, words
from rnas.runs.table_run import SYSTEM, TableRun
from rnas.runs.table_training import plan_groups
from rnas.training.messages import duration

CONFIG = "config.json"
LATEST = 20  # results whose pace tells the time left
STATES = ("finished", "running", "interrupted", "failed", "waiting")


def is_one(workdir: Path) -> bool:
    """Whether a folder is the work directory of a table; one whose configuration cannot be read is taken for none."""
    with contextlib.suppress(OSError, ValueError):  # among many folders one may be damaged
        return read_object(workdir / CONFIG).get("system") == SYSTEM
    return False


def status(workdir: Path) -> dict[str, Any]:
    """How many networks are in each state, steps of those in training, why some failed, and about the seconds left.

    What is trained together, several cells or a supernet, counts with all its networks that have no result yet. The
    time left is that at the pace of the latest results; there is none before two of them, or while nobody works.

    Raises ValueError where a file cannot be read, or an earlier version wrote it.
    """
    config = recorded_config(workdir)
    run = TableRun(config, workdir)
    written = {path.stem: path.stat().st_mtime for path in (workdir / FOLDER).glob("*.json")}
    holders, failed = Leases(workdir).holders(), failures(workdir)
    counts, training = dict.fromkeys(STATES, 0), {}
    for group in plan_groups(config.archs, config.seeds, None if run.shared else config.train.side_by_side):
        missing = sum(network.name not in written for network in group)
        counts["finished"] += len(group) - missing
        if missing:
            folder = run.folder(group)
            if folder.name in holders:
                rows = trained_rows(folder) if (folder / METRICS).exists() else []
                state = {
                    "status": "running",
                    **progress(rows, config.train.epochs, runs=True),
                    "by": str(holders[folder.name]),
                }
            elif folder.name in failed:
                state = {"status": "failed", "reason": failed[folder.name].error}
            elif (folder / METRICS).exists():
                state = {"status": "interrupted", **progress(trained_rows(folder), config.train.epochs, runs=False)}
            else:
                state = {"status": "waiting"}
            counts[state["status"]] += missing
            if state["status"] != "waiting":
                training[folder.name] = state | {"networks": missing}
    found: dict[str, Any] = {"workdir": str(workdir), "networks": counts, "training": training}
    times = sorted(written.values())[-LATEST:]
    if counts["running"] and len(times) > 1:
        ahead = sum(counts.values()) - counts["finished"]
        found["left"] = ahead * (times[-1] - times[0]) / (len(times) - 1)
    return found


def as_text(found: Mapping[str, Any]) -> str:
    """The answer of `status` for a reader: the counts, and one line for what has begun and is not finished."""
    width = max(map(len, found["training"]), default=0) + 2
    lines = [f"  {name.ljust(width)}{words(state)}{_why(state)}" for name, state in found["training"].items()]
    return "\n".join([found["workdir"], f"  {summary(found)}", *lines])


def summary(found: Mapping[str, Any]) -> str:
    """The counts alone, in one line."""
    finished, *others = found["networks"].items()
    parts = [f"{finished[1]:,} of {sum(found['networks'].values()):,} networks finished"]
    parts += [f"{count:,} {state}" for state, count in others if count]
    parts += [f"about {duration(found['left'])} left"] if "left" in found else []
    return ", ".join(parts)


def _why(state: Mapping[str, Any]) -> str:
    """Why it failed, or who is at it."""
    return f": {state['reason']}" if "reason" in state else f", {state['by']}" if "by" in state else ""
