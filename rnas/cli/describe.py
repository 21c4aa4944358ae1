"""`rnas describe`: sizes, taps and latency of the networks of a configuration, and what its run costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnas.cli.arguments import add_shared, read_config, show

if TYPE_CHECKING:  # the rest is imported late, so that --help answers at once
    from ml_collections import ConfigDict

EXAMPLE = "--config=rnas_cl/cifar10:s7"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_shared(parser, "--config", "--workdir", "--json")
    add("--architecture", metavar="FILE", help="an architecture.json; default: the work directory's")
    words = "also time the networks, in JAX and onnxruntime, at batch 1 and 128; kept in the work directory of a run"
    add("--latency", action="store_true", help=words)
    words = "also measure the blocks of a width space here, for searches with cost.kind=latency and cost.table=FILE"
    add("--latency-table", metavar="FILE", help=words)


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Prints the description; raises ValueError as `rnas.runs.description.describe`, and for a table of cells."""
    from rnas.cli import platform
    from rnas.runs import training_cost
    from rnas.runs.description import describe

    platform.prepare()
    config, workdir = read_config(arguments, overrides)
    measured: dict[str, Any] = {}
    if arguments.latency_table:
        measured["latency_table"] = _latency_table(config, workdir, Path(arguments.latency_table))
    if arguments.latency:
        measured["latency"] = _latency(config, workdir, arguments.architecture)
    found = describe(config, workdir, arguments.architecture, training_cost.speeds)
    return show({**found, **measured}, as_json=arguments.json)


def _latency(config: ConfigDict, workdir: Path, architecture: str | None) -> dict[str, Any]:
    """How long the networks take; of a run's own networks it is kept in the work directory, for its page."""
    from rnas.artifacts.latency import FILE
    from rnas.config.load import FILE as CONFIG
    from rnas.export.network_timing import time_networks
    from rnas.runs.description import networks_in_use
    from rnas.runs.stages import open_run

    found = time_networks(networks_in_use(open_run(config, workdir), architecture), tuple(config.data.image_shape))
    if architecture is None and (workdir / CONFIG).exists():
        found.write(workdir / FILE)
    milliseconds: dict[str, Any] = {}
    for row in found.networks:
        milliseconds.setdefault(row.network, {})[f"{row.runtime}, batch {row.batch}"] = row.timing.to_json()
    facts = {"device": found.device, "processor": found.processor, "threads": found.threads}
    return {**facts, "milliseconds": milliseconds}


def _latency_table(config: ConfigDict, workdir: Path, file: Path) -> dict[str, Any]:
    """Writes a latency table of the configuration's space; returns what to know of it."""
    from rnas.models import FBNet
    from rnas.runs.block_timing import measure_table
    from rnas.runs.stages import open_run

    network, _ = open_run(config, workdir).search.described()["supernet"]
    if not isinstance(network, FBNet):
        raise ValueError(f"--latency-table: space {config.space!r} has cells; only spaces of widths have such a table.")
    table = measure_table(network, tuple(config.data.image_shape))
    table.write(file)
    ends = {name: timing.to_json() for name, timing in (("smallest", table.smallest), ("largest", table.largest))}
    facts = {"device": table.device, "processor": table.processor, "threads": table.threads}
    return {"file": str(file), **facts, "milliseconds": ends}
