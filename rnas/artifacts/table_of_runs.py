"""The table of runs: data set → id → metric → seed → accuracy, as the authors of NAS-RobBench-201 publish it."""

from collections.abc import Iterable, Mapping
import dataclasses
import re
from typing import Any, NamedTuple

import numpy as np

from rnas.spaces import nasbench201

METRICS = ("clean", "fgsm_3", "pgd_3", "fgsm_8", "pgd_8", "autoattack")
PUBLISHED_METRICS = dict(
    zip(
        METRICS,
        ("val_acc", "val_fgsm_3_acc", "val_pgd_3_acc", "val_fgsm_8_acc", "val_pgd_8_acc", "autoattack"),
        strict=True,
    )
)  # in a table of means; a table of runs has radii with a decimal: val_fgsm_3.0_acc
DATASETS = {
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "imagenet": "imagenet16",
    "ImageNet16-120": "imagenet16",
    "digits": "digits",  # of our own tables
}  # published name: ours
MEAN_OF_RUNS = "threeseed"  # stands among the seeds

_THEIRS = {ours: re.sub(r"_(\d)_", r"_\1.0_", theirs) for ours, theirs in PUBLISHED_METRICS.items()}
_OURS = {theirs: ours for ours, theirs in _THEIRS.items()}


class Runs(NamedTuple):
    """Accuracies of one cell by one metric.

    Attributes:
      mean: over training runs.
      seeds: accuracy of each run by its seed; empty where only the mean is known.
    """

    mean: float
    seeds: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class TableOfRuns:
    """The content of a table of runs.

    Attributes:
      runs: by data set, id of the cell, and metric.
    """

    runs: Mapping[tuple[str, int, str], Runs]

    @classmethod
    def collect(cls, figures: Iterable[tuple[str, int, int, Mapping[str, float]]]) -> "TableOfRuns":
        """Puts the figures of networks into one table; their order leaves no trace.

        AutoAttack has no seeds, as published: the table holds its mean over those networks that it judged.

        Args:
          figures: data set, id, seed, and accuracy by metric of each network.
        """
        found: dict[tuple[str, int, str], dict[str, float]] = {}
        for dataset, number, seed, accuracy in sorted(figures, key=lambda entry: entry[:3]):
            for metric in METRICS:
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
        """Reads the content of a file.

        Args:
          source: name of the file, for messages.
          content: data set → id → metric → seed → accuracy, or a bare accuracy in place of the seeds.

        Raises:
          ValueError: an id, a metric or a figure that cannot be.
        """
        runs = {}
        for dataset, entries in content.items():
            for key, metrics in _mapping(source, entries).items():
                number = _own_class(source, key)
                for metric, figures in _mapping(source, metrics).items():
                    if metric not in _OURS:
                        raise ValueError(f"{source}: id {key} has the metric {metric!r}; known: {', '.join(_OURS)}.")
                    if not isinstance(figures, dict):
                        figures = {MEAN_OF_RUNS: figures}
                    where = f"{dataset} {metric}"
                    seeds = {
                        seed: check_accuracy(source, key, where, figure)
                        for seed, figure in _mapping(source, figures).items()
                    }
                    mean = seeds.pop(MEAN_OF_RUNS, None)
                    mean = float(np.mean(list(seeds.values()))) if mean is None else mean
                    runs[DATASETS[dataset], number, _OURS[metric]] = Runs(mean, seeds)
        return cls(runs)


def check_accuracy(source: str, number: int | str, column: str, value: Any) -> float:
    """Returns an accuracy as a float.

    Raises:
      ValueError: `value` is no number from 0 to 1; names the file, the cell and the column.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{source}: {column} of id {number} is {value!r}, expected an accuracy from 0 to 1.")
    return float(value)


def _mapping(source: str, entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or not entry:
        raise ValueError(f"{source}: expected data set → id → metric → seed → accuracy, found {str(entry)[:60]!r}.")
    return entry


def _own_class(source: str, key: str) -> int:
    number = nasbench201.identify(key)
    if number != nasbench201.canonical(number):
        raise ValueError(
            f"{source} is of another version: it evaluates id {number}, whose class is that of id "
            f"{nasbench201.canonical(number)}."
        )
    return number
