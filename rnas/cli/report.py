"""`rnas report`: the page of a work directory, whatever kind it is, written again from its files."""

import argparse
from pathlib import Path

EXAMPLE = "--workdir=runs/rnas_cl/digits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    words = "of a run, a study, one attack, `rnas tabular train` or `rnas ntk`; default: the current one"
    parser.add_argument("--workdir", default=".", metavar="DIR", help=words)
    words = "another run for one table with it, or a published table beside a table in the making; may be repeated"
    parser.add_argument("--beside", action="append", default=[], metavar="DIR", help=words)
    words = "runs that differ in their seed, such as 'runs/s7/seed_*': writes seeds.html beside them, with their spread"
    parser.add_argument("--seeds", metavar="PATTERN", help=words)


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Writes `report.html` of a directory, `study.html` of a study or `seeds.html` of several runs; prints its path.

    Raises ValueError where the directory is of no kind, a file cannot be read, or nothing can stand beside it.
    """
    from rnas import pages
    from rnas.artifacts.files import read_object
    from rnas.pages.kernel_page import write_kernel_page
    from rnas.pages.table_page import write_training_page

    workdir, beside = Path(arguments.workdir), arguments.beside
    if arguments.seeds is not None:
        if beside or arguments.workdir != ".":
            raise ValueError("--seeds names the work directories itself; give it without --workdir and --beside.")
        print(pages.write_seeds_page(arguments.seeds))
        return 0
    config = workdir / "config.json"
    content = read_object(config) if config.exists() else {}
    if content.get("system") == "robbench":
        print(write_training_page(workdir, beside))
        return 0
    for file, noun, write in (
        ("study.json", "a study", pages.write_study_page),
        ("ntk.json", "a study of tangent kernels", write_kernel_page),
        ("attack.json", "one attack", pages.write_attack_page),
        ("corruptions.json", "one measurement of corruptions", pages.write_corruption_page),
    ):
        if (workdir / file).exists():
            if beside:
                raise ValueError(f"{workdir} holds {noun}; nothing can stand beside it.")
            print(write(workdir))
            return 0
    print(pages.write_report(workdir, beside))
    return 0
