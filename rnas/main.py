"""The command `rnas`: one verb is run, and a user's mistake becomes one clear line in this one place."""

from argparse import Namespace
from collections.abc import Sequence
import importlib
import os
import shlex
import sys

from rnas.cli.command_line import VERBS, parse
from rnas.cli.supervisor import is_one_of_several, leave, lost_others, supervise
from rnas.training.heartbeat import is_watched
from rnas.training.interruption import Interrupted
from rnas.training.messages import program, with_streams, write


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 0 for success, 2 for a mistake, 3 for a failed sanity check, 130
    after Ctrl-C, 75 where the same command should be started again (SIGTERM, a lost process), 141 if nobody reads on.
    """
    return with_streams(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(argv: list[str]) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before anything imports JAX
    arguments, overrides = parse(argv)
    arguments.typed = shlex.join(["rnas", *argv])  # what a run records
    if is_one_of_several(arguments) and not is_watched():
        return supervise(argv, arguments.watchdog)
    return leave(lambda: _command(arguments, overrides, argv))


def _command(arguments: Namespace, overrides: list[str], argv: list[str]) -> int:
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
