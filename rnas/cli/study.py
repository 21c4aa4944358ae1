"""`rnas study`: the arms of a configuration over several seeds, compared on the same images."""

import argparse
from pathlib import Path

from rnas.cli.arguments import add_shared, read_config, read_shard
from rnas.cli.run import draw

STUDY = "study"  # at the end of the name of its directory


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
        run_study(config, workdir, *shard, command=arguments.typed, report=draw, report_study=_draw_study)
    return 0


def _draw_study(workdir: Path) -> None:
    from rnas.pages import write_study_page

    write_study_page(workdir)
