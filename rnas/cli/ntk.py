"""`rnas ntk`: kernels and training-free scores of cells, and how far their order agrees with a table."""

import argparse
from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import functools
import json
from pathlib import Path
import sys
import tempfile

import numpy as np

from rnas.artifacts import kernel_results
from rnas.artifacts.files import write_text
from rnas.artifacts.kernel_results import COSTS, FILE, PROXIES, RANKING, KernelResults, KernelSettings, TableAgreement
from rnas.cli import platform
from rnas.cli.arguments import add_shared
from rnas.data import load_dataset
from rnas.ntk.kernel import OUTPUTS, PARAMETERS
from rnas.pages.kernel_page import LABELS, write_kernel_page
from rnas.runs.kernel_agreement import FEWEST, accuracies, agreement
from rnas.runs.kernel_study import run_study
from rnas.spaces import nasbench201
from rnas.tabular import RobBench, load_robbench, ranking, stratified_sample
from rnas.tabular.table import is_cost
from rnas.training.interruption import interruptible
from rnas.training.messages import broken, say, terminal_width
from rnas.training.progress import Progress
from rnas.training.text_table import markdown_table, text_table

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]  # head, rows → lines

EXAMPLE = "--dataset=digits --sample=50"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options to the parser of `rnas ntk`."""
    add = parser.add_argument
    default = KernelSettings()

    def number(name: str, words: str = "", kind: type = int, metavar: str | None = "N") -> None:
        value = getattr(default, name)
        words = f"{words}; default: {value}" if words else f"default: {value}"
        add(f"--{name}", type=kind, default=value, metavar=metavar, help=words)

    add("--archs", metavar="A,B,…", help="ids, six-digit codes or strings of NAS-Bench-201")
    add("--sample", type=int, metavar="N", help="in their place N classes, one from each of N equal parts of a ranking")
    add("--dataset", required=True, metavar="NAME", help="a TFDS set; its training images are used")
    add("--table", metavar="FILE", help="table of NAS-RobBench-201, or its folder, for the correlations")
    add_shared(parser, "--data-dir", "--partial", "--json")
    add("--columns", metavar="A,B,…", help="of the table; default: every accuracy of the data set")
    number("images", "training images")
    number("initialisations", "draws of the parameters")
    epsilons = ",".join(default.epsilons)
    add("--epsilon", default=epsilons, metavar="A,B,…", help=f"radii of PGD in pixel units; default: {epsilons}")
    number("steps", "of PGD")
    number("beta", "of the mixed kernels, 0 to 1", float, None)
    add("--logits", default=default.output, choices=OUTPUTS, help="kernel of their sum, or mean of their kernels")
    add("--parameters", default=default.parameters, choices=PARAMETERS, help="which gradients the kernel is made of")
    number("channels", "of the first stage", metavar="C")
    number("cells", "in each stage")
    number("seed", "of every random draw", metavar=None)
    add("--output", metavar="DIR", help="folder of ntk.json, ntk.md and report.html; a second start resumes")


def run(arguments: argparse.Namespace, overrides: Sequence[str] = ()) -> int:
    """Scores the cells of the command line and prints the outcome; returns the exit code.

    Raises ValueError for an architecture, a table, a column, a data set or a number that cannot be.
    """
    platform.prepare()
    table = load_robbench(arguments.table, partial=arguments.partial) if arguments.table else None
    named = {field.name for field in dataclasses.fields(KernelSettings)} & vars(arguments).keys() - {"output"}
    settings = KernelSettings(
        **{name: getattr(arguments, name) for name in named},
        epsilons=tuple(arguments.epsilon.split(",")),
        output=arguments.logits,
    )
    columns = choose_columns(table, arguments.columns, arguments.dataset)
    ids = choose_architectures(arguments.archs, arguments.sample, table, columns, arguments.seed)
    if table is not None:
        accuracies(ids, table, columns)  # what it lacks is missed now, not after all cells were scored
    with interruptible(), contextlib.ExitStack() as stack:
        folder = Path(arguments.output or stack.enter_context(tempfile.TemporaryDirectory()))
        dataset = load_dataset(arguments.dataset, data_dir=arguments.data_dir, held_out=0, seed=0)
        with Progress("ntk", len(ids), unit="architecture") as progress:
            results = run_study(dataset, ids, settings, folder / "architectures", progress.update)
        if table is not None and len(ids) >= FEWEST:
            results = dataclasses.replace(results, agreement=agreement(results, table, columns))
    if arguments.output:
        results.write(folder / FILE)
        write_text(folder / "ntk.md", as_text(results) + "\n")
        say(f"page: {write_kernel_page(folder)}")
    shown = as_text(results, terminal_width(sys.stdout))
    print(json.dumps(results.to_json(), allow_nan=False) if arguments.json else shown)
    return 0


# -- choices ---------------------------------------------------------------------------------------------


def choose_columns(table: RobBench | None, given: str | None, dataset: str) -> list[str]:
    """Returns the columns to correlate with: those that are named, or every accuracy of the data set.

    Raises ValueError for columns without a table, one that it lacks, or none of that data set.
    """
    if table is None:
        if given:
            raise ValueError("--columns names columns of a table; give --table too.")
        return []
    name = dataset.split(":")[0].split("/")[0]
    found = given.split(",") if given else [c for c in table.columns if c.startswith(f"{name}/") and not is_cost(c)]
    if not found:
        raise ValueError(
            f"the table has no accuracies of {name!r}; name others by --columns, such as {table.columns[0]}. "
            f"Data sets: {', '.join(table.datasets)}."
        )
    return [table.check_column(column) for column in found]


def choose_architectures(
    archs: str | None, sample: int | None, table: RobBench | None, columns: Sequence[str], seed: int
) -> list[int]:
    """Returns ids: those that are named, or a sample of the classes.

    A sample is stratified: the classes in the order of the first column (without a table in a random order) are cut
    into equal parts, and one is drawn from each. Raises ValueError for both or none of the two, no such architecture,
    or a sample larger than the number of classes.
    """
    if archs is not None and sample is None:
        return sorted({nasbench201.identify(arch) for arch in archs.split(",")})
    if sample is None or archs is not None:
        raise ValueError("name architectures by --archs=A,B,…, or draw some by --sample=N.")
    rng = np.random.default_rng(seed)
    classes = rng.permutation(nasbench201.classes()).tolist() if table is None else ranking(table, columns[0])
    return stratified_sample(classes, sample, rng)


# -- text ------------------------------------------------------------------------------------------------


def as_text(results: KernelResults, width: int | None = None) -> str:
    """The outcome in Markdown; for a terminal of so many columns in tables that fit."""
    lines = [broken(line, width) for line in _protocol(results)]
    table = functools.partial(_table, width=width)
    found = results.agreement
    if found is None:
        return "\n".join([*lines, "", *_score_table(results, table)])
    lines += ["", f"Spearman's \u03c1 (95 % interval, {found.resamples} resamples of the architectures)", ""]
    lines += _coefficient_table(found.correlations, found.columns, table)
    lines += ["", "Gain in |\u03c1| of one kernel over another (95 % interval; * where p < 0.05)", ""]
    lines += _gain_table(found, table)
    if best := found.best:
        lines += ["", f"Spearman's \u03c1 among the {best.count} in the best {best.share:.0%} by {best.by}", ""]
        lines += _coefficient_table(best.correlations, found.columns, table)
    return "\n".join(lines)


def _protocol(results: KernelResults) -> list[str]:
    settings, seconds, cpu_seconds = results.settings, results.seconds, results.cpu_seconds
    lines = [
        f"{len(results.architectures)} architectures on {settings.images} training images of "
        f"{results.dataset['name']}, {settings.initialisations} initialisations, seed {settings.seed}.",
        f"Network: {settings.channels} channels, cells in each stage: {settings.cells}. Kernel: "
        f"{settings.output} of the logits, {settings.parameters} parameters. {settings.attack_label}, "
        f"L\u221e, radii {', '.join(settings.epsilons)}; \u03b2 = {settings.beta:g}.",
        f"An architecture took {seconds['median']:.1f} s ({cpu_seconds['median']:.1f} s of processor time; medians), "
        f"all {seconds['total'] / 60:.0f} min ({cpu_seconds['total'] / 60:.0f} min), one compilation included; "
        f"{results.device}, jax {results.versions['jax']}, rnas {results.versions.get('rnas', 'not installed')}.",
    ]
    if dead := [cell.code for cell in results.architectures if cell.degenerate]:
        lines.append(
            f"Kernels of rank 1 or 0, of networks whose output does not depend on the image: {', '.join(dead)}."
        )
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """A table whose first two columns name its rows: in Markdown, or cut to `width`."""
    if width is None:
        return markdown_table(head, rows)
    head, *rows = ([" ".join(filter(None, row[:2])), *row[2:]] for row in (head, *rows))
    return text_table(head, rows, width)


def _score_table(results: KernelResults, table: Table) -> list[str]:
    kernels = ["clean", *(f"robust@{epsilon}" for epsilon in results.settings.epsilons)]
    names = [f"{kernel}/{score}" for kernel in kernels for score in ("lambda_min", "condition", "fit")] + [*PROXIES]
    rows = [
        [str(cell.id), cell.code, *(f"{cell.scores[name]:.4g}" for name in names)] for cell in results.architectures
    ]
    return table(["id", "code", *names], rows)


def _coefficient_table(
    found: Sequence[kernel_results.ScoreCorrelation], columns: Sequence[str], table: Table
) -> list[str]:
    at = {(row.kind, row.kernel, row.column): row for row in found}
    # A cross kernel is scored by its symmetric part, which need not be positive; those figures are in the JSON alone.
    kernels = [k for k in dict.fromkeys(row.kernel for row in found) if k and not k.startswith("cross")]
    names = [(score, kernel) for score in RANKING for kernel in kernels] + [(name, "") for name in (*PROXIES, *COSTS)]
    rows = []
    for score, kernel in names:
        shown = [at[score, kernel, column] for column in columns]
        rows.append([LABELS[score], kernel, *(_coefficient(row.spearman, row.low, row.high, ".2f") for row in shown)])
    return table(["score", "kernel", *columns], rows)


def _gain_table(found: TableAgreement, table: Table) -> list[str]:
    cells: dict[tuple[str, str], list[str]] = {}
    for row in found.gains:
        mark = "*" if row.p_value is not None and row.p_value < 0.05 else ""
        line = cells.setdefault((LABELS[row.score], f"{row.kernel} over {row.over}"), [])
        line.append(_coefficient(row.gain, row.low, row.high, "+.3f") + mark)
    rows = [[*names, *line] for names, line in cells.items()]
    return table(["score", "kernels", *found.columns], rows)


def _coefficient(value: float | None, low: float | None, high: float | None, form: str) -> str:
    return "-" if value is None or low is None else f"{value:{form}} ({low:{form}} to {high:{form}})"
