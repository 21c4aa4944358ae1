"""`rnas report`: the page of a work directory, whatever kind it is, written again from its files."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rnas.cli.arguments import add_workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser, "of a run, of one attack, of `rnas tabular train` or of `rnas ntk`; default: the current one")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="DIR",
        help="another run for one table with it, or a published table beside a table in the making; may be repeated",
    )


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Writes the page and prints its path; raises ValueError as `write_page`."""
    print(write_page(Path(arguments.workdir), arguments.beside))
    return 0


def write_page(workdir: Path, beside: Sequence[str | Path] = ()) -> Path:
    """Writes `report.html` of a directory and returns its path.

    Args:
      workdir: of a run, an attack, a table in the making or a study of kernels.
      beside: work directories of other runs, for one table; of a table in the making, a published one.

    Raises:
      ValueError: the directory is none of these, one of its files cannot be read, or nothing can stand beside it.
    """
    from rnas import pages
    from rnas.artifacts.files import read_json
    from rnas.pages.kernel_page import write_study_page
    from rnas.pages.table_page import write_training_page

    config = workdir / "config.json"
    content = read_json(config) if config.exists() else {}
    if isinstance(content, dict) and content.get("system") == "robbench":
        return write_training_page(workdir, beside)
    for file, noun, write in (
        ("ntk.json", "a study of tangent kernels", write_study_page),
        ("attack.json", "one attack", pages.write_attack_page),
    ):
        if (workdir / file).exists():
            if beside:
                raise ValueError(f"{workdir} holds {noun}; nothing can stand beside it.")
            return write(workdir)
    return pages.write_report(workdir, beside)
