"""The table of runs: data set → id → metric → seed → accuracy, as the authors of NAS-RobBench-201 publish it."""

from collections.abc import Iterable, Mapping
import dataclasses
import re
from typing import Any, NamedTuple

import numpy as np

from rnas.spaces import nasbench201

# Ours: theirs in a table of means; a table of runs has radii with a decimal: val_fgsm_3.0_acc.
PUBLISHED_METRICS = {
    "clean": "val_acc",
    "fgsm_3": "val_fgsm_3_acc",
    "pgd_3": "val_pgd_3_acc",
    "fgsm_8": "val_fgsm_8_acc",
    "pgd_8": "val_pgd_8_acc",
    "autoattack": "autoattack",
}
# PGD as published, judged on its last iterate; `pgd_3` and `pgd_8` of our tables count any iterate.
OWN_METRICS = {"pgd_3_last": "val_pgd_3_last_acc", "pgd_8_last": "val_pgd_8_last_acc"}
METRICS = tuple(PUBLISHED_METRICS)
ALL_METRICS = (*METRICS, *OWN_METRICS)
DATASETS = {
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "imagenet": "imagenet16",
    "ImageNet16-120": "imagenet16",
    "digits": "digits",  # of our own tables
}  # published name: ours
MEAN_OF_RUNS = "threeseed"  # stands among the seeds

_THEIRS = {ours: re.sub(r"_(\d)_", r"_\1.0_", theirs) for ours, theirs in {**PUBLISHED_METRICS, **OWN_METRICS}.items()}
_OURS = {theirs: ours for ours, theirs in _THEIRS.items()}


class Runs(NamedTuple):
    """Accuracies of one cell by one metric."""

    mean: float  # over training runs
    seeds: Mapping[str, float]  # accuracy of each run by its seed; empty where only the mean is known


@dataclasses.dataclass(frozen=True)
class TableOfRuns:
    """The content of a table of runs."""

    runs: Mapping[tuple[str, int, str], Runs]  # by data set, id of the cell, and metric

    @classmethod
    def collect(cls, figures: Iterable[tuple[str, int, int, Mapping[str, float]]]) -> "TableOfRuns":
        """Puts the figures of networks into one table; their order leaves no trace.

        AutoAttack has no seeds, as published: the table holds its mean over those networks that it judged.

        Args:
          figures: data set, id, seed, and accuracy by metric of each network.
        """
        found: dict[tuple[str, int, str], dict[str, float]] = {}
        for dataset, number, seed, accuracy in sorted(figures, key=lambda entry: entry[:3]):
            for metric in ALL_METRICS:
                if metric in accuracy:
                    found.setdefault((dataset, number, metric), {})[str(seed)] = accuracy[metric]
        return cls(
            {
                key: Runs(float(np.mean(list(seeds.values()))), {} if key[2] == "autoattack" else seeds)
                for key, seeds in found.items()
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the file; where a metric has three runs, their mean stands beside them."""
        content: dict[str, Any] = {}
        for (dataset, number, metric), (mean, seeds) in self.runs.items():
            mean_beside = {MEAN_OF_RUNS: mean} if len(seeds) == 3 else {}
            metrics = content.setdefault(dataset, {}).setdefault(str(number), {})
            metrics[_THEIRS[metric]] = {**seeds, **mean_beside} if seeds else mean
        return content

    @classmethod
    def from_json(cls, source: str, content: Mapping[str, Any]) -> "TableOfRuns":
        """Reads the content of the file `source`; raises ValueError for an id, a metric or a figure that cannot be.

        Args:
          content: data set → id → metric → seed → accuracy, or a bare accuracy in place of the seeds.
        """
        runs = {}
        for dataset, entries in content.items():
            for key, metrics in _mapping(source, entries).items():
                try:
                    number = nasbench201.identify(key)
                except ValueError as error:
                    raise ValueError(f"{source}: {error}") from error
                if number != (canonical := nasbench201.canonical(number)):
                    raise ValueError(
                        f"{source} is of another version: it evaluates id {number}, whose class is that of id "
                        f"{canonical}."
                    )
                for metric, figures in _mapping(source, metrics).items():
                    if metric not in _OURS:
                        raise ValueError(f"{source}: id {key} has the metric {metric!r}; known: {', '.join(_OURS)}.")
                    if not isinstance(figures, dict):
                        figures = {MEAN_OF_RUNS: figures}
                    seeds = {
                        seed: check_accuracy(source, key, f"{dataset} {metric}", figure)
                        for seed, figure in _mapping(source, figures).items()
                    }
                    mean = seeds.pop(MEAN_OF_RUNS, None)
                    mean = float(np.mean(list(seeds.values()))) if mean is None else mean
                    runs[DATASETS[dataset], number, _OURS[metric]] = Runs(mean, seeds)
        return cls(runs)


def check_accuracy(source: str, number: int | str, column: str, value: Any) -> float:
    """Returns an accuracy as a float; raises ValueError where `value` is no number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{source}: {column} of id {number} is {value!r}, expected an accuracy from 0 to 1.")
    return float(value)


def _mapping(source: str, entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or not entry:
        raise ValueError(f"{source}: expected data set → id → metric → seed → accuracy, found {str(entry)[:60]!r}.")
    return entry
