"""`rnas run`, `search`, `train` and `evaluate`: the stages of a run, up to the one that the verb names."""

import argparse
from pathlib import Path

from rnas.cli.arguments import add_shared, read_config

UNTIL = {"run": "report", "search": "derive", "train": "finetune", "evaluate": "evaluate"}  # verb: last stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--config", "--workdir", "--distributed")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Runs the stages that are not complete yet, as `rnas.runs.stages.execute`."""
    from rnas.cli import platform
    from rnas.runs import stages
    from rnas.training.interruption import interruptible

    platform.prepare(distributed=arguments.distributed)
    config, workdir = read_config(arguments, overrides)
    with interruptible():
        stages.execute(config, workdir, command=arguments.typed, until=UNTIL[arguments.command], report=draw)
    return 0


def draw(workdir: Path) -> None:
    """Draws the page of the run, and those of its AutoAttacks."""
    from rnas.pages import write_attack_page, write_report

    for attack in sorted((workdir / "attacks").glob("*/attack.json")):
        write_attack_page(attack.parent)
    write_report(workdir)
