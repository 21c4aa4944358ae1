"""Arguments that several verbs share, and what they stand for."""

import argparse
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds --config and --workdir; `read_config` reads them."""
    parser.epilog = "Any configuration key can be changed with --config.key=value."
    parser.add_argument(
        "--config", required=True, metavar="FILE[:NAMES]", help="configuration file, and names of its variants"
    )
    parser.add_argument(
        "--workdir", metavar="DIR", help="work directory; default: runs/<folder>/<name> of the configuration file"
    )


def add_workdir(parser: argparse.ArgumentParser, help: str = "work directory; default: the current one") -> None:
    """Adds --workdir of a verb without configuration."""
    parser.add_argument("--workdir", default=".", metavar="DIR", help=help)


def add_distributed(parser: argparse.ArgumentParser) -> None:
    """Adds --distributed, which `platform.prepare` takes."""
    parser.add_argument("--distributed", action="store_true", help="one process of several (Slurm, TPU pod)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json, which `show` takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def read_config(arguments: argparse.Namespace, overrides: list[str]) -> tuple[ConfigDict, Path]:
    """The configuration and the work directory: configs/rnas_cl/cifar10.py:s7 → runs/rnas_cl/cifar10_s7.

    Raises:
      ValueError: see `rnas.config.load_config`.
    """
    from rnas.config.load import load_config

    config = load_config(arguments.config, overrides)
    name, _, argument = arguments.config.partition(":")
    file = Path(name)
    default = Path("runs") / file.parent.name / "_".join(filter(None, [file.stem, argument]))
    return config, Path(arguments.workdir or default)


def show(result: dict[str, Any], *, as_json: bool) -> int:
    """Prints `result`, for a program or for a reader, and returns the exit code 0."""
    print(json.dumps(result) if as_json else as_text(result))
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
