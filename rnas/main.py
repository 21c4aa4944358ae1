"""The command line: one module of `rnas.cli` a verb, and one place where a user's mistake becomes one clear line.

Each module has `add_arguments(parser)` and `run(arguments, overrides) -> exit code`. It is imported when its verb is
typed, and imports what needs a device when it runs: `--help` and queries to a table answer at once.
"""

import argparse
from collections.abc import Sequence
import importlib
import os
import shlex
import sys

VERBS = {  # verb: module of `rnas.cli`, help
    "run": ("run", "all stages: teacher, search, derive, train, baselines, evaluate, report"),
    "search": ("run", "up to the derived architecture"),
    "train": ("run", "up to the trained student"),
    "evaluate": ("run", "up to the attacks on the test set"),
    "study": ("study", "all arms of a configuration over several seeds, compared on the same images"),
    "attack": ("attack", "AutoAttack and others on a trained model, with sanity checks"),
    "describe": ("describe", "parameters, MACs and taps of supernet, teacher and derived network"),
    "status": ("status", "which stages of a work directory are complete"),
    "report": ("report", "write the pages of a work directory again"),
    "teacher": ("teacher", "train, import or check a teacher, or cache its outputs"),
    "tabular": ("tabular", "queries to the table of NAS-RobBench-201, searches on it, and its training"),
    "ntk": ("ntk", "tangent kernels and other training-free scores of cells, ranked beside the table"),
}


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the arguments and the `--config.key=value` overrides among them; exits with 2 on a mistake."""
    parser = argparse.ArgumentParser(
        prog="rnas", description="Searches image classifiers that are small and hard to fool."
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="command")
    typed = next((word for word in argv if not word.startswith("-")), None)
    for verb, (module, description) in VERBS.items():
        made = verbs.add_parser(verb, help=description, description=description)
        if verb == typed:
            importlib.import_module(f"rnas.cli.{module}").add_arguments(made)
    arguments, rest = parser.parse_known_args(argv)
    overrides = [argument for argument in rest if argument.startswith("--config.")]
    if unknown := [argument for argument in rest if argument not in overrides]:
        parser.error(f"unknown argument {unknown[0]!r}; configuration keys are written --config.key=value")
    if overrides and "config" not in arguments:
        parser.error(f"{overrides[0]}: this command takes no configuration")
    return arguments, overrides


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 2 for a mistake, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments, overrides = parse(argv)
    arguments.typed = shlex.join(["rnas", *argv])  # what a run records, and what resumes it
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from rnas.training.interruption import Interrupted

    try:
        return importlib.import_module(f"rnas.cli.{VERBS[arguments.command][0]}").run(arguments, overrides)
    except Interrupted as interrupted:
        print(f"{interrupted} To go on: {arguments.typed}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print(f"stopped at once. To go on from the last checkpoint: {arguments.typed}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        if os.environ.get("RNAS_TRACEBACK"):
            raise
        print(f"rnas: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
