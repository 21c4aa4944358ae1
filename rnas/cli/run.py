"""`rnas run`, `search`, `train` and `evaluate`: the stages of a run, up to the one that the verb names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnas.cli.arguments import SEVERAL, add_shared, read_config

if TYPE_CHECKING:  # the rest is imported late, so that --help answers at once
    from rnas.artifacts.run_record import RunRecord
    from rnas.runs.run import Run

UNTIL = {"run": "report", "search": "derive", "train": "finetune", "evaluate": "evaluate"}  # verb: last stage
EXAMPLE = "--config=rnas_cl/digits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--config", "--workdir", *SEVERAL)
    words = "make this stage and all after it anew; what they had left is kept in the folder former/"
    parser.add_argument("--from", dest="anew", metavar="STAGE", help=words)


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Runs the stages that are not complete yet, as `rnas.runs.stages.execute`."""
    from rnas.cli import platform
    from rnas.runs import stages
    from rnas.training.interruption import interruptible

    platform.prepare(arguments)
    config, workdir = read_config(arguments, overrides)
    with interruptible():
        stages.execute(
            config, workdir, command=arguments.typed, until=UNTIL[arguments.command], anew=arguments.anew,
            report=draw, announce=announce,
        )  # fmt: skip
    return 0


def announce(run: Run, wanted: Sequence[str], record: RunRecord) -> None:
    """Prints what lies ahead, and about how long it takes here."""
    from rnas.runs import run_plan, training_cost
    from rnas.training.messages import say

    costs = training_cost.stage_costs(run)
    ahead = [stage for stage in wanted if stage in costs and not record.is_complete(stage)]
    say(run_plan.plan(run, wanted, record.stages, costs, training_cost.speeds(run) if ahead else {}))


def draw(workdir: Path) -> None:
    """Draws the page of the run, and those of its AutoAttacks."""
    from rnas.pages import write_attack_page, write_report

    for attack in sorted((workdir / "attacks").glob("*/attack.json")):
        write_attack_page(attack.parent)
    write_report(workdir)
