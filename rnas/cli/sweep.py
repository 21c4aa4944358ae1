"""`rnas sweep`: a grid of values of some keys, over several seeds, by any number of workers."""

import argparse

from rnas.cli.arguments import KEYS, add_shared, read_config
from rnas.cli.run import draw

SWEEP = "sweep"  # at the end of the name of its directory
EXAMPLE = "--config=rnas_cl/digits:smoke --seeds=0-2 --set train.objective=trades,mart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    words = "configuration file, and names of its variants; the same command goes on with a sweep"
    parser.add_argument("--config", required=True, metavar="FILE[:NAMES]", help=words)
    add_shared(parser, "--workdir", word=SWEEP)
    parser.epilog = KEYS
    parser.add_argument("--seeds", default="0-4", metavar="A-B|A,B,…", help="of one run each; default: 0-4")
    words = "values of a configuration key; several times: all combinations, each compared with the first"
    parser.add_argument("--set", action="append", default=[], dest="grid", metavar="KEY=VALUE,…", help=words)


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Runs what nobody else is at, as `rnas.runs.sweep.run_sweep`."""
    from rnas.cli import platform
    from rnas.config.load import load_config
    from rnas.pages import write_study_page
    from rnas.runs.sweep import read_grid, read_seeds, run_sweep
    from rnas.training.interruption import interruptible

    platform.prepare()
    grid, seeds = read_grid(arguments.grid), read_seeds(arguments.seeds)
    if twice := [key for key in (*grid, "seed") if any(word.startswith(f"--config.{key}=") for word in overrides)]:
        raise ValueError(f"--config.{twice[0]}: the sweep sets this key.")
    _, workdir = read_config(arguments, overrides, word=SWEEP)
    with interruptible():
        run_sweep(
            lambda more: load_config(arguments.config, [*overrides, *more]), grid, seeds, workdir,
            command=arguments.typed, report=draw, report_sweep=write_study_page,
        )  # fmt: skip
    return 0
