"""How far the table of a work directory has come, from its files alone."""

from pathlib import Path
from typing import Any

from rnas.artifacts.failure import failures
from rnas.artifacts.leases import Leases
from rnas.artifacts.table_results import planned_networks, result_file
from rnas.config.load import recorded_config
from rnas.training.messages import duration


def table_status(workdir: Path) -> dict[str, Any]:
    """Counts of networks, who works at what and since when, what failed and why, and the time left, JSON-able.

    The time left assumes that the rate of the results so far goes on; it is missing before the second one.

    Raises ValueError where the directory holds no table.
    """
    config = recorded_config(workdir)
    if config.system != "robbench":
        raise ValueError(f"{workdir} holds no table of networks; rnas status tells of runs.")
    files = [result_file(workdir, network) for network in planned_networks(config.archs, config.seeds)]
    ends = sorted(file.stat().st_mtime for file in files if file.exists())
    found: dict[str, Any] = {"networks": len(files), "finished": len(ends)}
    if 1 < len(ends) < len(files) and ends[-1] > ends[0]:
        rate = (len(ends) - 1) / (ends[-1] - ends[0])
        found["left"] = duration((len(files) - len(ends)) / rate)
    held = Leases(workdir).held()
    found["running"] = {name: f"process {each.pid} on {each.host}, since {each.since}" for name, each in held.items()}
    found["failed"] = {name: f"{each.error} ({each.host}, {each.when})" for name, each in failures(workdir).items()}
    return found
