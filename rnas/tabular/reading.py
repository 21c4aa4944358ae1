"""Reads the published files of NAS-RobBench-201, and tables of the same form that were made elsewhere.

The table of means is a JavaScript assignment, `acc={…}`: under "" the names of the columns, under each id either its
row or the id that stands for it. The table of runs is JSON: data set → id → metric → seed → accuracy. The table after
standard training (Jung et al. 2023, "Neural Architecture Design and Robustness: A Dataset") has the form of the means,
with columns of its own.
"""

import collections
from collections.abc import Mapping
import hashlib
import os
from pathlib import Path
import re
from typing import Any

import numpy as np

from rnas.artifacts.files import parse_json
from rnas.artifacts.table_of_runs import DATASETS, METRICS, PUBLISHED_METRICS, TableOfRuns, check_accuracy
from rnas.spaces import nasbench201
from rnas.tabular.table import TASKS, RobBench

FILES = ("NAS-RobBench-201_html.json", "NAS-RobBench-201_all.json")  # of means, and of runs
PROJECT_PAGE = "https://tt2408.github.io/nasrobbench201hp/"

_REMEDY = "The download may be incomplete, or it is a web page about the file; fetch it again."
_STANDARD_METRICS = {
    "standard_clean": "clean",
    "standard_apgd_ce": "aa_apgd-ce",
    "standard_square": "aa_square",
    "standard_fgsm": "fgsm",
    "standard_pgd": "pgd",
    "standard_corruptions": "corr",
}


def _columns(imagenet: str, metrics: Mapping[str, str]) -> dict[str, str]:
    """Published names of columns, and ours."""
    return {
        f"{dataset}#{theirs}": f"{DATASETS[dataset]}/{ours}"
        for dataset in ("cifar10", "cifar100", imagenet)
        for ours, theirs in metrics.items()
        if (dataset, theirs) != ("ImageNet16-120", "corr")  # which was not made
    }


_MEANS, _STANDARD = _columns("imagenet", PUBLISHED_METRICS), _columns("ImageNet16-120", _STANDARD_METRICS)


def load_robbench(
    path: str | os.PathLike, *, standard: str | os.PathLike | None = None, partial: bool = False
) -> RobBench:
    """Reads a table, and checks that all of it is there and in the order of NAS-Bench-201.

    Args:
      path: a table of means or of runs, or the folder that holds one under its published name.
      standard: the table after standard training, whose columns are joined: 'cifar10/standard_clean',
        'cifar10/standard_pgd', … (attacks at radius 1/255).
      partial: whether a table of runs may lack classes, data sets, metrics.

    Raises:
      ValueError: a file that is missing, cut short, of another version or with a figure outside [0, 1].
    """
    file = Path(path)
    if file.is_dir():
        found = [file / name for name in FILES if (file / name).is_file()]
        if len(found) != 1:
            expected = f"expected one of {' and '.join(FILES)}. Name the file itself"
            raise ValueError(f"{file} holds {len(found)} tables; {expected}.")
        (file,) = found
    content, sha256 = _parse(file)
    if "" in content:
        ids, values, seeds = nasbench201.classes(), _means(file, content, _MEANS), {}
    elif content and content.keys() <= DATASETS.keys():
        ids, values, seeds = columns_of_runs(TableOfRuns.from_json(str(file), content))
        if not partial:
            _check_complete(file, ids, values)
    else:
        raise ValueError(
            f'{file} is no table of NAS-RobBench-201: expected acc={{…}} with column names under "", or data sets '
            f"{', '.join(DATASETS)} with the runs of each id. Published names: {' or '.join(FILES)}."
        )
    if standard is not None:
        joined = _means(Path(standard), _parse(Path(standard))[0], _STANDARD)
        rows = np.searchsorted(nasbench201.classes(), ids)
        values |= {name: column[rows] for name, column in joined.items()}
    return RobBench(str(file), sha256, ids, values, seeds)


def _parse(file: Path) -> tuple[dict[str, Any], str]:
    """Returns the JSON object of a file, behind `name=` if that precedes it, empty if it is none; and its SHA-256."""
    if not file.is_file():
        raise ValueError(f"no table at {file}; download it from the project page of NAS-RobBench-201, {PROJECT_PAGE}.")
    data = file.read_bytes()
    try:
        text = re.sub(r"^\s*(?:(?:var|let|const)\s+)?\w+\s*=", "", data.decode()).strip().removesuffix(";")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}, {len(data):,} bytes, is not readable: {error}. {_REMEDY}") from error
    content = parse_json(text, f"{file}, {len(data):,} bytes,", _REMEDY)
    return content if isinstance(content, dict) else {}, hashlib.sha256(data).hexdigest()


def _means(file: Path, content: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Returns the column [6466] of each of our names for `columns`, in ascending order of ids."""
    if not isinstance(names := content.get(""), list):
        raise ValueError(f'{file} is no table of means: expected names of columns under the key "".')
    if sorted(map(str, names)) != sorted(columns):
        if columns is _MEANS and set(map(str, names)) == set(_STANDARD):
            raise ValueError(f"{file} is the table after standard training; give it as standard=FILE (--standard).")
        missing = [name for name in columns if name not in names]
        unknown = [str(name) for name in names if name not in columns]
        raise ValueError(
            f"{file} is of another version: it has {len(names)} columns, expected {len(columns)}; missing: "
            f"{_some(missing)}; unknown: {_some(unknown)}."
        )
    expected = {str(number) for number in range(nasbench201.SIZE)}
    if odd := (content.keys() - {""}) ^ expected:
        first = min(odd, key=lambda key: (len(key), key))
        raise ValueError(
            f"{file} is incomplete or of another version: it has {len(content) - 1:,} ids, NAS-Bench-201 has "
            f"{nasbench201.SIZE:,}; the first that {'is missing' if first in expected else 'is unknown'} is {first!r}."
        )
    rows = []
    for number, representative in enumerate(nasbench201.representatives().tolist()):
        entry, stands = content[str(number)], number == representative
        if isinstance(entry, list) != stands or not stands and str(entry) != str(representative):
            there = "has a row of its own" if isinstance(entry, list) else f"is listed as id {entry}"
            here = "it stands for its class" if stands else f"its class is that of id {representative}"
            raise ValueError(
                f"{file} is of another version: id {number} {there}, but in the order of NAS-Bench-201 {here}."
            )
        if stands:
            if len(entry) != len(names):
                raise ValueError(f"{file}: id {number} has {len(entry)} figures, expected {len(names)}, one a column.")
            pairs = zip(names, entry, strict=True)
            rows.append([check_accuracy(str(file), number, name, value) for name, value in pairs])
    table = np.array(rows)
    return {ours: table[:, names.index(theirs)] for theirs, ours in columns.items()}


def _some(words: list[str]) -> str:
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return (", ".join(words[:3]) or "none") + more


def columns_of_runs(table: TableOfRuns) -> tuple[tuple[int, ...], dict, dict]:
    """Returns ids, means [R] per column, and runs [R] per column and seed; NaN where there is none."""
    ids = tuple(sorted({number for _, number, _ in table.runs}))
    row_of = {number: row for row, number in enumerate(ids)}
    values = collections.defaultdict(lambda: np.full(len(ids), np.nan))
    seeds = collections.defaultdict(lambda: collections.defaultdict(lambda: np.full(len(ids), np.nan)))
    for (dataset, number, metric), runs in table.runs.items():
        name = f"{dataset}/{metric}"
        values[name][row_of[number]] = runs.mean
        for seed, figure in runs.seeds.items():
            seeds[name][seed][row_of[number]] = figure
    return ids, dict(values), {name: dict(columns) for name, columns in seeds.items()}


def _check_complete(file: Path, ids: tuple[int, ...], values: Mapping[str, np.ndarray]) -> None:
    expected = nasbench201.classes()
    columns = [f"{dataset}/{metric}" for dataset in TASKS for metric in METRICS]
    lacking = [name for name in columns if name not in values]
    holes = [f"{np.isnan(column).sum()} of {name}" for name, column in values.items() if np.isnan(column).any()]
    if ids != expected or lacking or holes:
        raise ValueError(
            f"{file} is incomplete: it evaluates {len(ids):,} of {len(expected):,} classes; missing columns: "
            f"{_some(lacking)}; missing figures: {_some(holes)}. Allow it by partial=True (--partial)."
        )
