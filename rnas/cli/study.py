"""`rnas study`: the arms of a configuration over several seeds, compared on the same images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rnas.cli.arguments import add_shared, read_config, read_shard
from rnas.cli.run import draw as draw_run

if TYPE_CHECKING:  # the rest is imported late, so that --help answers at once
    from rnas.runs.run import Run

STUDY = "study"  # at the end of the name of its directory
EXAMPLE = "--config=rnas_cl/digits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--config", "--workdir", "--shard", word=STUDY)


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Runs the seeds that are not finished yet, as `rnas.runs.study.run_study`."""
    from rnas.cli import platform
    from rnas.runs.study import run_study
    from rnas.training.interruption import interruptible

    platform.prepare()
    config, workdir = read_config(arguments, overrides, word=STUDY)
    shard = read_shard(arguments)
    with interruptible():
        run_study(
            config, workdir, *shard, command=arguments.typed, report=draw_run, report_study=draw, announce=announce
        )
    return 0


def announce(run: Run, seeds: int) -> None:
    """Prints what lies ahead of a seed that has not begun, and about how long that and so many of them take here."""
    from rnas.runs import run_plan, training_cost
    from rnas.runs.stages import NAMES
    from rnas.training.messages import say

    costs, speeds = training_cost.stage_costs(run), training_cost.speeds(run)
    say(run_plan.plan(run, NAMES, {}, costs, speeds, seeds))


def draw(workdir: Path) -> None:
    """Draws the page of the study."""
    from rnas.pages import write_study_page

    write_study_page(workdir)
