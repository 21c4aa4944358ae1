"""`rnas run`, `search`, `train` and `evaluate`: the stages of a run, up to the one that the verb names."""

import argparse

from rnas.cli.arguments import add_config, add_distributed, read_config

UNTIL = {"run": "report", "search": "derive", "train": "finetune", "evaluate": "evaluate"}  # verb: last stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_distributed(parser)


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Runs the stages that are not complete yet.

    Raises:
      ValueError: see `rnas.runs.stages.execute`.
      Interrupted: on a signal, once the state is saved.
    """
    from rnas.cli import platform
    from rnas.pages import write_report
    from rnas.runs import stages
    from rnas.training.interruption import interruptible

    platform.prepare(distributed=arguments.distributed)
    config, workdir = read_config(arguments, overrides)
    with interruptible():
        stages.execute(config, workdir, command=arguments.typed, until=UNTIL[arguments.command], report=write_report)
    return 0
