"""The table of NAS-RobBench-201 (Wu et al. 2024, arXiv 2403.13134): accuracies of adversarially trained cells."""

from collections.abc import Mapping
import dataclasses
import difflib
import functools
from typing import NamedTuple

import numpy as np

from rnas.artifacts.table_of_runs import METRICS as METRICS
from rnas.spaces import nasbench201
from rnas.spaces.nasbench201 import Arch


class Task(NamedTuple):
    """What networks are trained on, and how large they are for it; see `nasbench201.cost`."""

    num_classes: int
    image_size: int
    inputs: int = 3
    channels: int = nasbench201.CHANNELS
    cells: int = nasbench201.CELLS


# The published table; and beside it handwritten digits, for tables that are made within minutes.
TASKS = {"cifar10": Task(10, 32), "cifar100": Task(100, 32), "imagenet16": Task(120, 16)}
ALL_TASKS = {**TASKS, "digits": Task(10, 8, inputs=1, channels=8, cells=1)}
COSTS = ("params", "macs")


@dataclasses.dataclass(frozen=True, eq=False)
class RobBench:
    """Accuracies per class of cells; a column is named '<data set>/<metric>', such as 'cifar10/pgd_8'.

    Beside the columns that were measured, every data set has the costs 'params' and 'macs' of its networks. Here and in
    every function of `rnas.tabular` a column that is not there raises ValueError, which names the nearest.

    Attributes:
      source: the file it was read from.
      sha256: of that file.
      ids: representative of every class that was evaluated, ascending; 6,466 in a complete table.
      values: accuracy [R] in [0, 1] per column, in the order of `ids`; NaN where a class was not evaluated.
      seeds: accuracy [R] per column and seed, where the table has them.
    """

    source: str
    sha256: str
    ids: tuple[int, ...]
    values: Mapping[str, np.ndarray]
    seeds: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def _rows(self) -> dict[int, int]:
        return {number: row for row, number in enumerate(self.ids)}

    def query(self, arch: Arch, dataset: str, metric: str, *, seed: int | str | None = None) -> float:
        """Returns one figure of an architecture: an accuracy of its class, or a cost of its own.

        Args:
          arch: in any form of `rnas.spaces.nasbench201`.
          dataset: 'cifar10', 'cifar100' or 'imagenet16' (ImageNet16-120); 'digits', of tables made here.
          metric: 'clean'; 'fgsm_3', 'pgd_3', 'fgsm_8', 'pgd_8', 'autoattack' (radius in 255ths); 'params', 'macs';
            'standard_clean' and so on, where that table was joined.
          seed: of one training run; None gives the mean over runs. A seed, or a class, that was not evaluated raises
            ValueError.
        """
        name = self.check_column(f"{dataset}/{metric}")
        number = nasbench201.identify(arch)
        if metric in COSTS:
            return _cost(name, nasbench201.encodings()[number]).item()
        column = self.values[name]
        if seed is not None:
            runs = self.seeds.get(name, {})
            if str(seed) not in runs:
                there = f"there are {', '.join(runs)}" if runs else "only means"
                raise ValueError(f"{name} has no run of seed {seed}; {there}.")
            column = runs[str(seed)]
        representative = nasbench201.canonical(number)
        row = self._rows.get(representative)
        if row is None or np.isnan(column[row]):
            raise ValueError(
                f"{self.source} has no {name} of id {representative}, which stands for {arch!r}; "
                f"it was evaluated for {np.isfinite(column).sum()} classes."
            )
        return column[row].item()

    @property
    def datasets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.partition("/")[0] for name in self.values))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, costs included."""
        return (*self.values, *(f"{dataset}/{kind}" for dataset in self.datasets for kind in COSTS))

    def check_column(self, name: str) -> str:
        """Returns `name`; raises ValueError, naming the nearest, where there is no such column."""
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, n=1, cutoff=0.0)[0]
            dataset = near.partition("/")[0]
            metrics = [column.partition("/")[2] for column in self.columns if column.startswith(f"{dataset}/")]
            raise ValueError(
                f"{self.source} has no column {name!r}; the nearest is {near!r}. "
                f"Data sets: {', '.join(self.datasets)}; metrics of {dataset}: {', '.join(metrics)}."
            )
        return name

    def joined(self, other: "RobBench", prefix: str) -> "RobBench":
        """Returns the table with the columns of another beside its own, as '<data set>/<prefix>_<metric>'.

        Only classes that this table has are taken over; NaN stands where the other lacks one. Two tables without a
        class in common raise ValueError.
        """
        known = np.array([number in other._rows for number in self.ids])
        if not known.any():
            counts = f"{len(other.ids)} and {len(self.ids)} classes"
            raise ValueError(f"{other.source} and {self.source} have no class in common: {counts}.")
        rows = [other._rows[number] for number in np.array(self.ids)[known].tolist()]
        columns = {}
        for name, column in other.values.items():
            dataset, _, metric = name.partition("/")
            columns[f"{dataset}/{prefix}_{metric}"] = found = np.full(len(self.ids), np.nan)
            found[known] = column[rows]
        return dataclasses.replace(self, values={**self.values, **columns})

    def column(self, name: str) -> np.ndarray:
        """Returns a column [R] in the order of `ids`; a cost is that of the class's representative."""
        if is_cost(self.check_column(name)):
            return _cost(name, nasbench201.encodings()[list(self.ids)])
        return self.values[name]

    def scores(self, name: str) -> np.ndarray:
        """Returns what a search maximises, [15625] float64, one per id: an accuracy, or the negative of a cost.

        Raises ValueError where the column lacks a class.
        """
        if is_cost(self.check_column(name)):
            return -_cost(name, nasbench201.encodings()).astype(np.float64)
        found = np.full(nasbench201.SIZE, np.nan)
        found[list(self.ids)] = self.values[name]
        found = found[nasbench201.representatives()]
        if lacking := np.isnan(found).sum():
            of = f"{name} of {lacking} of {nasbench201.SIZE} architectures"
            raise ValueError(f"{self.source} lacks {of}; a search needs a complete table.")
        return found


def is_cost(column: str) -> bool:
    """Whether a column is a cost: less is better."""
    return column.rpartition("/")[-1] in COSTS


def _cost(column: str, encodings: np.ndarray) -> np.ndarray:
    dataset, _, kind = column.partition("/")
    return nasbench201.cost(encodings, kind=kind, **ALL_TASKS[dataset]._asdict())
