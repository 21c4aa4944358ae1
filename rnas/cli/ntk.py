"""`rnas ntk`: kernels and training-free scores of cells, and how they rank them beside the table's accuracies."""

import argparse
from collections.abc import Sequence
import contextlib
import dataclasses
import json
from pathlib import Path
import tempfile
from typing import Any

import numpy as np

from rnas.artifacts.files import write_json, write_text
from rnas.cli import platform
from rnas.ntk.kernel import OUTPUTS, PARAMETERS
from rnas.ntk.scores import Scores
from rnas.pages.kernel_page import FILE, write_study_page
from rnas.pages.kernel_plot import LABELS
from rnas.runs.kernel_study import COSTS, PROXIES, Settings, Study, run_study
from rnas.spaces import nasbench201
from rnas.tabular import RobBench, best_share, load_robbench, ranking
from rnas.tabular import rank_correlation as correlation
from rnas.tabular.table import is_cost
from rnas.training.interruption import interruptible

Answer = dict[str, Any]

BEST = 0.2  # share of the table's classes, by its first column, that is looked at alone
RESAMPLES = 2000
COMPARED = tuple(name for name in Scores._fields if name in LABELS)  # neither rank nor lambda_max ranks cells


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options to the parser of `rnas ntk`."""
    add = parser.add_argument
    default = Settings()
    add("--archs", metavar="A,B,…", help="ids, six-digit codes or strings of NAS-Bench-201")
    add(
        "--sample", type=int, metavar="N", help="N classes instead, one drawn from each of N equal parts of the ranking"
    )
    add("--dataset", required=True, metavar="NAME", help="a TFDS set; its training images are used")
    add("--data-dir", metavar="DIR", help="where that set is")
    add("--table", metavar="FILE", help="table of NAS-RobBench-201, or its folder, to correlate with")
    add("--partial", action="store_true", help="the table of runs may lack classes, data sets, metrics")
    add("--columns", metavar="A,B,…", help="of the table; default: every accuracy of the data set")
    add("--images", type=int, default=default.images, metavar="N", help=f"default: {default.images}")
    add(
        "--initialisations",
        type=int,
        default=default.initialisations,
        metavar="N",
        help=f"draws of the parameters; default: {default.initialisations}",
    )
    add(
        "--epsilon",
        default=",".join(default.epsilons),
        metavar="A,B,…",
        help=f"radii of PGD in pixel units; default: {','.join(default.epsilons)}",
    )
    add("--steps", type=int, default=default.steps, metavar="N", help=f"of PGD; default: {default.steps}")
    add("--beta", type=float, default=default.beta, help=f"of the mixed kernels, 0 to 1; default: {default.beta}")
    add("--logits", default=default.output, choices=OUTPUTS, help="kernel of their sum, or mean of their kernels")
    add("--parameters", default=default.parameters, choices=PARAMETERS, help="of which gradients are taken")
    add("--channels", type=int, default=default.channels, metavar="C", help=f"default: {default.channels}")
    add("--cells", type=int, default=default.cells, metavar="N", help=f"in each stage; default: {default.cells}")
    add("--seed", type=int, default=default.seed, help="of every random draw; default: 0")
    add("--output", metavar="DIR", help="keep what is done, to go on from; ntk.json, ntk.md, report.html")
    add("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace, overrides: Sequence[str] = ()) -> int:
    """Scores what the command line names and prints the outcome; returns the exit code.

    Raises:
      ValueError: an architecture, a table, a column, a data set or a number that cannot be; says which.
      OSError: a file that could not be written.
      Interrupted: on a signal; the architectures that are finished are kept.
    """
    platform.prepare()
    table = load_robbench(arguments.table, partial=arguments.partial) if arguments.table else None
    settings = Settings(
        images=arguments.images,
        initialisations=arguments.initialisations,
        epsilons=tuple(arguments.epsilon.split(",")),
        steps=arguments.steps,
        beta=arguments.beta,
        output=arguments.logits,
        parameters=arguments.parameters,
        channels=arguments.channels,
        cells=arguments.cells,
        seed=arguments.seed,
    )
    columns = choose_columns(table, arguments.columns, arguments.dataset)
    ids = choose_architectures(arguments.archs, arguments.sample, table, columns, arguments.seed)
    with interruptible(), contextlib.ExitStack() as stack:
        folder = Path(arguments.output or stack.enter_context(tempfile.TemporaryDirectory()))
        answer = study(arguments, settings, ids, table, columns, folder)
        text = as_text(answer)
        if arguments.output:
            write_json(folder / FILE, answer)
            write_text(folder / "ntk.md", text + "\n")
            write_study_page(folder)
    print(json.dumps(answer, allow_nan=False) if arguments.json else text)
    return 0


# -- choices ---------------------------------------------------------------------------------------------


def choose_columns(table: RobBench | None, given: str | None, dataset: str) -> list[str]:
    """Returns the columns to correlate with: those that are named, or every accuracy of the data set.

    Raises:
      ValueError: columns without a table, one that it lacks, or none of that data set.
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
    into equal parts, and one is drawn from each.

    Raises:
      ValueError: both or none of the two, no such architecture, or a sample larger than the number of classes.
    """
    if (archs is None) == (sample is None):
        raise ValueError("name architectures by --archs=A,B,…, or have some drawn by --sample=N.")
    if archs is not None:
        return sorted({nasbench201.identify(arch) for arch in archs.split(",")})
    random = np.random.default_rng(seed)
    ordered = (
        random.permutation(np.unique(nasbench201.representatives())) if table is None else ranking(table, columns[0])
    )
    if not 1 <= sample <= len(ordered):
        raise ValueError(f"--sample={sample}: expected 1 to {len(ordered)}, the number of classes.")
    return sorted(int(random.choice(part)) for part in np.array_split(np.asarray(ordered), sample))


# -- answer ----------------------------------------------------------------------------------------------


def study(
    arguments: argparse.Namespace,
    settings: Settings,
    ids: Sequence[int],
    table: RobBench | None,
    columns: Sequence[str],
    folder: Path,
) -> Answer:
    """Scores the architectures and, with a table, correlates: everything that is printed, JSON-able."""
    import jax

    from rnas.artifacts.run_record import versions
    from rnas.data import load_dataset
    from rnas.training.progress import Progress

    dataset = load_dataset(arguments.dataset, data_dir=arguments.data_dir, held_out=0, seed=0)
    with Progress("ntk", len(ids), unit="architecture") as progress:
        done = run_study(dataset, ids, settings, folder / "architectures", progress.update)
    answer = {
        "dataset": {key: dataset.fingerprint[key] for key in ("name", "description")},
        "settings": {**dataclasses.asdict(settings), "epsilons": list(settings.epsilons)},
        "image_ids": done.image_ids.tolist(),
        "seconds": {"median": float(np.median(done.seconds)), "total": float(done.seconds.sum())},
        "cpu_seconds": {"median": float(np.median(done.cpu_seconds)), "total": float(done.cpu_seconds.sum())},
        "device": jax.devices()[0].device_kind,
        "versions": versions(),
        "architectures": [
            {
                "id": number,
                "code": nasbench201.to_code(number),
                "scores": dict(zip(done.names, row.tolist(), strict=True)),
                "std": dict(zip(done.names, each.std(0).tolist(), strict=True)),
                "degenerate": bool(row[done.names.index("clean/rank")] <= 1),
            }
            for number, row, each in zip(done.ids, done.scores, done.each, strict=True)
        ],
    }
    if table is not None and len(ids) >= 3:
        answer |= _agreement(done, settings, table, columns)
    return answer


def _agreement(done: Study, settings: Settings, table: RobBench, columns: Sequence[str]) -> Answer:
    """Correlations of all scores with all columns, of all architectures and of the best ones, and gains."""
    names = [f"{kernel}/{score}" for kernel in settings.kernels for score in COMPARED] + [*PROXIES, *COSTS]
    scores = done.scores[:, [done.names.index(name) for name in names]].T
    values = np.array([[table.query(number, *column.split("/")) for number in done.ids] for column in columns])
    best = np.isin([table.canonical(number) for number in done.ids], best_share(table, columns[0], BEST))
    seed = settings.seed
    samples = correlation.resampled_spearman(scores, values, resamples=RESAMPLES, seed=seed)
    whole = correlation.correlate(scores, values, samples)
    answer = {
        "table": {"source": Path(table.source).name, "sha256": table.sha256},
        "columns": list(columns),
        "resamples": RESAMPLES,
        "shown": ["clean", *(f"{kernel}@{e}" for kernel in ("robust", "twice") for e in settings.epsilons)],
        "correlations": _rows(names, columns, whole),
        "gains": _gains(names, columns, settings, whole.spearman, samples),
    }
    if best.sum() >= 3:
        few = correlation.resampled_spearman(scores[:, best], values[:, best], resamples=RESAMPLES, seed=seed)
        rows = _rows(names, columns, correlation.correlate(scores[:, best], values[:, best], few))
        answer["best"] = {"share": BEST, "by": columns[0], "count": int(best.sum()), "correlations": rows}
    return answer


def _rows(names: Sequence[str], columns: Sequence[str], found: correlation.Correlation) -> list[Answer]:
    fields = [field for field in correlation.Correlation._fields if field != "count"]
    return [
        {"score": name, "column": column, **{field: _finite(getattr(found, field)[i, j]) for field in fields}}
        for i, name in enumerate(names)
        for j, column in enumerate(columns)
    ]


def _gains(
    names: Sequence[str], columns: Sequence[str], settings: Settings, spearman: np.ndarray, samples: np.ndarray
) -> list[Answer]:
    """What a kernel under attack adds to the clean one, a larger radius to a smaller, a second attack to the first."""
    epsilons = sorted(settings.epsilons, key=_length)
    pairs = [(f"robust@{epsilon}", "clean") for epsilon in epsilons]
    pairs += [
        (f"robust@{larger}", f"robust@{smaller}") for smaller, larger in zip(epsilons, epsilons[1:], strict=False)
    ]
    pairs += [(f"twice@{epsilon}", f"robust@{epsilon}") for epsilon in epsilons]
    rows = []
    for score in COMPARED:
        for one, other in pairs:
            i, j = (names.index(f"{kernel}/{score}") for kernel in (one, other))
            found = correlation.gain(spearman[i], spearman[j], samples[:, i], samples[:, j])
            rows += [
                {"score": score, "kernel": one, "over": other, "column": column}
                | {field: _finite(value[place]) for field, value in found._asdict().items()}
                for place, column in enumerate(columns)
            ]
    return rows


def _length(epsilon: str) -> float:
    from rnas.attacks import radius

    return radius(epsilon)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# -- text ------------------------------------------------------------------------------------------------


def as_text(answer: Answer) -> str:
    """The outcome in Markdown, which a terminal shows as well."""
    settings, seconds, cpu_seconds = (answer[key] for key in ("settings", "seconds", "cpu_seconds"))
    package = answer["versions"]
    lines = [
        f"{len(answer['architectures'])} architectures on {settings['images']} training images of "
        f"{answer['dataset']['name']}, {settings['initialisations']} initialisations, seed {settings['seed']}.",
        f"Network: {settings['channels']} channels, cells in each stage: {settings['cells']}. Kernel: "
        f"{settings['output']} of the logits, {settings['parameters']} parameters. PGD-{settings['steps']}, "
        f"L\u221e, radii {', '.join(settings['epsilons'])}; \u03b2 = {settings['beta']:g}.",
        f"An architecture took {seconds['median']:.1f} s ({cpu_seconds['median']:.1f} s of processor time; medians), "
        f"all {seconds['total'] / 60:.0f} min ({cpu_seconds['total'] / 60:.0f} min), one compilation included; "
        f"{answer['device']}, jax {package['jax']}, rnas {package.get('rnas', 'not installed')}.",
    ]
    if dead := [cell["code"] for cell in answer["architectures"] if cell["degenerate"]]:
        lines.append(
            f"Kernels of rank 1 or 0, of networks whose output does not depend on the image: {', '.join(dead)}."
        )
    if "correlations" not in answer:
        return "\n".join([*lines, "", *_score_table(answer)])
    columns = answer["columns"]
    lines += ["", f"Spearman's \u03c1 (95 % interval, {answer['resamples']} resamples of the architectures)", ""]
    lines += _coefficient_table(answer["correlations"], columns)
    lines += ["", "Gain in |\u03c1| of one kernel over another (95 % interval; * where p < 0.05)", ""]
    lines += _gain_table(answer["gains"], columns)
    if best := answer.get("best"):
        lines += [
            "",
            f"Spearman's \u03c1 among the {best['count']} in the best {best['share']:.0%} by {best['by']}",
            "",
        ]
        lines += _coefficient_table(best["correlations"], columns)
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]


def _score_table(answer: Answer) -> list[str]:
    kernels = ["clean", *(f"robust@{epsilon}" for epsilon in answer["settings"]["epsilons"])]
    names = [f"{kernel}/{score}" for kernel in kernels for score in ("lambda_min", "condition", "fit")] + [*PROXIES]
    rows = [
        [str(cell["id"]), cell["code"], *(f"{cell['scores'][name]:.4g}" for name in names)]
        for cell in answer["architectures"]
    ]
    return _table(["id", "code", *names], rows)


def _coefficient_table(found: Sequence[Answer], columns: Sequence[str]) -> list[str]:
    at = {(row["score"], row["column"]): row for row in found}
    kernels = dict.fromkeys(row["score"].rpartition("/")[0] for row in found if "/" in row["score"])
    # A cross kernel is scored by its symmetric part, which need not be positive; those figures are in the JSON alone.
    kernels = [kernel for kernel in kernels if not kernel.startswith("cross")]
    names = [(score, kernel, f"{kernel}/{score}") for score in COMPARED for kernel in kernels]
    names += [(name, "", name) for name in (*PROXIES, *COSTS)]
    rows = [
        [LABELS[score], kernel, *(_coefficient(at[name, column], "spearman", ".2f") for column in columns)]
        for score, kernel, name in names
    ]
    return _table(["score", "kernel", *columns], rows)


def _gain_table(found: Sequence[Answer], columns: Sequence[str]) -> list[str]:
    at = {(row["score"], row["kernel"], row["over"], row["column"]): row for row in found}
    rows = []
    for score, kernel, over in dict.fromkeys(key[:3] for key in at):
        cells = []
        for column in columns:
            row = at[score, kernel, over, column]
            cells.append(_coefficient(row, "gain", "+.3f") + ("*" if (row["p_value"] or 1) < 0.05 else ""))
        rows.append([LABELS[score], f"{kernel} over {over}", *cells])
    return _table(["score", "kernels", *columns], rows)


def _coefficient(row: Answer, name: str, form: str) -> str:
    if row[name] is None or row["low"] is None:
        return "-"
    return f"{row[name]:{form}} ({row['low']:{form}} to {row['high']:{form}})"
