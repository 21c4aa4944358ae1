"""The command line: one module of `rnas.cli` a verb, and one place where a user's mistake becomes one clear line.

Each module has `add_arguments(parser)` and `run(arguments, overrides) -> exit code`. It is imported when its verb is
typed, and imports what needs a device when it runs: `--help` and queries to a table answer at once.
"""

import argparse
from collections.abc import Sequence
import importlib
import os
import re
import shlex
import sys

from rnas import __version__
from rnas.cli.supervisor import is_one_of_several, leave, lost_others, supervise
from rnas.training.heartbeat import is_watched
from rnas.training.interruption import Interrupted
from rnas.training.messages import program, with_streams, write

VERBS = {  # verb: module of `rnas.cli`, help
    "run": ("run", "all stages: teacher, search, derive, train, baselines, evaluate, report"),
    "search": ("run", "up to the derived architecture"),
    "train": ("run", "up to the trained student"),
    "evaluate": ("run", "up to the attacks on the test set"),
    "study": ("study", "all arms of a configuration over several seeds, compared on the same images"),
    "submit": ("submit", "start equal workers of a study, a sweep or a table, on a cluster or here"),
    "sweep": ("sweep", "a grid of values of some keys over several seeds, compared on the same images"),
    "attack": ("attack", "AutoAttack and others on a trained model, with sanity checks"),
    "describe": ("describe", "sizes and taps of the networks of a configuration, and what its run costs"),
    "status": ("status", "how far the runs of a folder, or one of them, have come"),
    "report": ("report", "write the pages of a work directory again"),
    "teacher": ("teacher", "train, import or check a teacher, or cache its outputs"),
    "tabular": ("tabular", "queries to the table of NAS-RobBench-201, searches on it, and its training"),
    "ntk": ("ntk", "tangent kernels and other training-free scores of cells, ranked beside the table"),
}


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the arguments and the `--config.key=value` overrides among them; exits with 2 on a mistake."""
    # A shell puts the home directory in place of `~` at the start of a word, and not after an equals sign.
    argv = [re.sub(r"(?<==)~.*", lambda path: os.path.expanduser(path[0]), word, count=1) for word in argv]
    parser = argparse.ArgumentParser(prog="rnas", description="Finds small image classifiers that are hard to fool.")
    parser.add_argument("--version", action="version", version=f"rnas {__version__}")
    verbs = parser.add_subparsers(dest="command", required=True, metavar="command")
    typed = next((word for word in argv if not word.startswith("-")), None)
    for verb, (module, description) in VERBS.items():
        made = verbs.add_parser(verb, help=description, description=description)
        if verb == typed:
            importlib.import_module(f"rnas.cli.{module}").add_arguments(made)
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command == "submit" and arguments.words:
        parse(arguments.words)  # its mistakes are this one's
    overrides = [argument for argument in rest if argument.startswith("--config.")]
    if overrides and "config" not in arguments:
        parser.error(f"{overrides[0]}: this command takes no configuration")
    if unknown := [argument for argument in rest if argument not in overrides]:
        keys = "; configuration keys are written --config.key=value" if "config" in arguments else ""
        parser.error(f"unknown argument {unknown[0]!r}{keys}")
    return arguments, overrides


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    0 is success, 2 a mistake, 3 a failed sanity check, 130 the end by Ctrl-C, 75 an end after which the same command
    should be started again (SIGTERM, a lost process), 141 that nobody reads on.
    """
    return with_streams(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(argv: list[str]) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before anything imports JAX
    arguments, overrides = parse(argv)
    arguments.typed = shlex.join(["rnas", *argv])  # what a run records
    if is_one_of_several(arguments) and not is_watched():
        return supervise(argv, arguments.watchdog)
    return leave(lambda: _command(arguments, overrides, argv))


def _command(arguments: argparse.Namespace, overrides: list[str], argv: list[str]) -> int:
    try:
        return importlib.import_module(f"rnas.cli.{VERBS[arguments.command][0]}").run(arguments, overrides)
    except (Interrupted, KeyboardInterrupt) as stop:
        write(f"{str(stop) or 'stopped; the last checkpoint is kept.'} To go on:\n  {program()} {shlex.join(argv)}")
        return getattr(stop, "code", 130)
    except (ValueError, OSError) as error:
        if os.environ.get("RNAS_TRACEBACK") or isinstance(error, BrokenPipeError) or lost_others(error):
            raise
        write(f"rnas: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
