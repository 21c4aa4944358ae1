"""The command line: a table from verb to module of `rnas.cli`, and the parser that reads what was typed.

Each module has `add_arguments(parser)`, `run(arguments, overrides) -> exit code` and `EXAMPLE`. It is imported when its
verb is typed, and imports what needs a device when it runs: `--help` and queries to a table answer at once.
"""

import argparse
from collections.abc import Sequence
import importlib
import os
import re

import shtab

from rnas import __version__

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
    "configs": ("configs", "the configurations that come with rnas, with cost and expected result"),
    "config": ("config", "every key of a configuration with its value and its meaning"),
    "status": ("status", "how far the runs of a folder, or one of them, have come"),
    "report": ("report", "write the pages of a work directory again"),
    "export": ("export", "a trained model for PyTorch, ONNX, StableHLO, as safetensors, or as a model card"),
    "data": ("data", "make a set of images of your own"),
    "teacher": ("teacher", "train, import or check a teacher, or cache its outputs"),
    "tabular": ("tabular", "queries to the table of NAS-RobBench-201, searches on it, and its training"),
    "ntk": ("ntk", "tangent kernels and other training-free scores of cells, ranked beside the table"),
}


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the arguments and the `--config.key=value` overrides among them; exits with 2 on a mistake."""
    # A shell puts the home directory in place of `~` at the start of a word, and not after an equals sign.
    argv = [re.sub(r"(?<==)~.*", lambda path: os.path.expanduser(path[0]), word, count=1) for word in argv]
    first = "To begin: rnas run --config=rnas_cl/digits, eight minutes on two CPU cores."
    parser = argparse.ArgumentParser("rnas", None, "Finds small image classifiers that are hard to fool.", first)
    parser.add_argument("--version", action="version", version=f"rnas {__version__}")
    shtab.add_argument_to(parser, "--print-completion", help="a script by which a shell completes commands")
    verbs = parser.add_subparsers(dest="command", required=True, metavar="command")
    typed = next((word for word in argv if not word.startswith("-")), None)
    completes = any(word.startswith("--print-completion") for word in argv)
    for verb, (module, description) in VERBS.items():
        made = verbs.add_parser(verb, help=description, description=description)
        if completes or verb == typed:
            own = importlib.import_module(f"rnas.cli.{module}")
            own.add_arguments(made)
            made.epilog = f"{made.epilog or ''} Example: rnas {verb} {own.EXAMPLE}".strip()
    # As a path it would be a folder here, named gs:, in which every host of a pod works by itself.
    if far := next((word for word in argv if re.match(r"--[\w.-]+=\w+://", word)), None):
        parser.error(
            f"{far}: expected a path of this machine; mount the bucket, by gcsfuse, mountpoint-s3 or blobfuse2"
        )
    arguments, rest = parser.parse_known_args(argv or ["--help"])
    if arguments.command == "submit" and arguments.words:
        parse(arguments.words)  # its mistakes are this one's
    overrides = [argument for argument in rest if argument.startswith("--config.")]
    if overrides and "config" not in arguments:
        parser.error(f"{overrides[0]}: this command takes no configuration")
    if unknown := [argument for argument in rest if argument not in overrides]:
        keys = "; configuration keys are written --config.key=value" if "config" in arguments else ""
        parser.error(f"unknown argument {unknown[0]!r}{keys}")
    return arguments, overrides
