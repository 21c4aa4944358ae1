"""How far a study has come: its seeds, each a run, and whether they were compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnas.artifacts.study_results import FILE, seed_folder
from rnas.config import recorded_config
from rnas.runs import run_status


def is_one(workdir: Path) -> bool:
    """Whether a folder is the work directory of a study."""
    return (
        any(workdir.glob("seed_*/config.json"))
        and (workdir / "config.json").exists()
        and not run_status.is_one(workdir)
    )


def status(workdir: Path) -> dict[str, Any]:
    """The state of the run of every seed, None where it has not begun, and whether they are compared.

    Raises ValueError where a file cannot be read, or an earlier version wrote it.
    """
    folders = {str(seed): workdir / seed_folder(seed) for seed in recorded_config(workdir).study.seeds}
    seeds = {seed: run_status.status(path) if run_status.is_one(path) else None for seed, path in folders.items()}
    return {"workdir": str(workdir), "seeds": seeds, "compared": (workdir / FILE).exists()}


def as_text(found: Mapping[str, Any]) -> str:
    """The answer of `status` for a reader: one line a seed."""
    width = max(map(len, found["seeds"])) + 2
    states = {seed: run_status.summary(of_seed) if of_seed else "not begun" for seed, of_seed in found["seeds"].items()}
    lines = [f"  seed {seed.ljust(width)}{state}" for seed, state in states.items()]
    compared = f"compared, in {FILE}" if found["compared"] else "not compared yet"
    return "\n".join([found["workdir"], *lines, f"  {compared}"])
