"""Arguments that several verbs share, and what they stand for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import re
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from rnas.training.messages import tell

if TYPE_CHECKING:
    from rnas.runs.loaded_model import Model

TABLE = "robbench"  # the system of a table of networks

OPTIONS: dict[str, dict[str, Any]] = {
    "--config": dict(
        metavar="FILE[:NAMES]",
        help="configuration: a file, or a name from `rnas configs`, and variants; default: what --workdir recorded",
    ),
    "--workdir": dict(metavar="DIR", help="work directory; default: runs/<folder>/<file>[_<names>] of --config"),
    "--data-dir": dict(metavar="DIR", help="where that set is"),
    "--partial": dict(action="store_true", help="accept a table of runs without some classes, data sets or metrics"),
    "--shard": dict(default="0/1", metavar="I/N", help="share I of N, I from 0; default: 0/1, all"),
    "--distributed": dict(action="store_true", help="one process of several, found through Slurm, a TPU pod and such"),
    "--coordinator": dict(metavar="HOST:PORT", help="where process 0 of several listens"),
    "--processes": dict(type=int, metavar="N", help="how many there are"),
    "--process-id": dict(type=int, metavar="I", help="number of this one, from 0"),
    "--watchdog": dict(
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="of several processes, end one that does no step for so long; 0: never; default: 300",
    ),
    "--json": dict(action="store_true", help="print one JSON object and nothing else"),
}

KEYS = "Any configuration key can be changed with --config.key=value; rnas config --doc lists them."
SEVERAL = ("--distributed", "--coordinator", "--processes", "--process-id", "--watchdog")


def add_shared(parser: argparse.ArgumentParser, *names: str, word: str = "") -> None:
    """Adds some of `OPTIONS`; of --config and --workdir, `read_config` makes the configuration, with the same word."""
    if "--config" in names:
        parser.epilog = KEYS
    for name in names:
        own = dict(OPTIONS[name])
        if name == "--workdir" and word:
            own["help"] = own["help"].replace("[_<names>]", f"[_<names>]_{word}")
        parser.add_argument(name, **own)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds what names a trained model, for `read_model`."""
    add = parser.add_argument
    add("--workdir", metavar="DIR", help="of a run")
    add("--teacher", metavar="DIR", help="a teacher directory, in place of --workdir")
    add("--model", default="student", help="of the run: student, teacher, baseline_…; default: student")


def read_model(arguments: argparse.Namespace) -> Model:
    """The model that a command names; raises ValueError where it names none or two, or as `rnas.load`."""
    from rnas.runs.loaded_model import Model

    if bool(arguments.workdir) == bool(arguments.teacher):
        raise ValueError("name one model: --workdir=RUN (and --model=NAME), or --teacher=DIR.")
    if arguments.teacher:
        return Model.of_teacher(arguments.teacher)
    return Model.of_run(arguments.workdir, arguments.model, data_dir=arguments.data_dir)


def read_config(
    arguments: argparse.Namespace, overrides: list[str], *, word: str = "", table: bool | None = False
) -> tuple[ConfigDict, Path]:
    """The configuration, see `rnas.config.load_config`, and its directory: configs/a/b.py:s7 → runs/a/b_s7, and
    configs/b.py → runs/b.

    Without --config it is the one that the work directory was made with.

    Args:
      word: is added to the name of the directory, if that is not given.
      table: whether the command makes a table of networks, not a run; None for one that reads the configuration alone.

    Raises ValueError where neither is given, or the configuration is of another command.
    """
    from rnas.config.load import load_config, recorded_config

    source = arguments.config
    if source is None:
        if arguments.workdir is None:
            raise ValueError("give --config=FILE, or --workdir=DIR to go on with what was begun there.")
        config, workdir = recorded_config(arguments.workdir, overrides), Path(arguments.workdir)
        _check_kind(workdir, arguments.command)
        source = str(workdir / "config.json")
    else:
        config = load_config(source, overrides)
        name, _, argument = source.partition(":")
        file = Path(name)
        folder = Path("runs", *([file.parent.name] if file.parent.name != "configs" else []))
        default = folder / "_".join(filter(None, [file.stem, argument, word]))
        workdir = Path(arguments.workdir or default)
    if table is not None and (config.system == TABLE) != table:
        own = "a table of networks: rnas tabular train" if config.system == TABLE else "a run: rnas run"
        raise ValueError(f"{source} is the configuration of {own} reads it, rnas {arguments.command} does not.")
    return config, workdir


def _check_kind(workdir: Path, command: str) -> None:
    """Refuses to go on with a study as with a run, and the other way round: their configurations are alike."""
    study = any(workdir.glob("seed_*/config.json"))
    if study and command not in ("study", "describe", "config"):
        raise ValueError(f"{workdir} holds a study: go on by rnas study --workdir={workdir}, or name one of its seeds.")
    if command == "study" and (workdir / "run.json").exists():
        raise ValueError(f"{workdir} holds one run, not a study: go on by rnas run --workdir={workdir}.")


def read_shard(arguments: argparse.Namespace) -> tuple[int, int]:
    """The two numbers of --shard; raises ValueError where it does not hold two."""
    shard = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
    if not shard:
        raise ValueError(f"--shard={arguments.shard}: expected I/N, such as 0/8.")
    return int(shard[1]), int(shard[2])


def show(result: dict[str, Any], *, as_json: bool) -> int:
    """Prints `result`, for a program or for a reader, and returns the exit code 0."""
    if as_json:
        print(json.dumps(result))
    else:
        tell(as_text(result))
    return 0


def as_text(result: dict[str, Any], indent: str = "") -> str:
    """One line a value, numbers with separators, taps as name and size."""
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", as_text(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{indent}{key} ({len(value)} taps)")
            lines += [f"{indent}  {tap['name']}  {tap['height']}×{tap['width']}×{tap['channels']}" for tap in value]
        else:
            lines.append(f"{indent}{key}: {f'{value:,}' if isinstance(value, int) else value}")
    return "\n".join(lines)
