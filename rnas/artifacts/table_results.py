"""What the networks of a table have reached: one file each, and the table that they make together."""

from collections.abc import Iterable, Mapping
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnas.artifacts.files import read_json, write_json
from rnas.spaces import nasbench201
from rnas.tabular.reading import MEAN_OF_RUNS, RUN_METRICS
from rnas.tabular.table import METRICS

FOLDER = "results"

_NAMES = {ours: theirs for theirs, ours in RUN_METRICS.items()}
_KEYS = {"dataset", "id", "seed", "accuracy", "protocol"}


class Network(NamedTuple):
    """One training run of a table.

    Attributes:
      id: of the cell that stands for its class.
      seed: of everything random.
    """

    id: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.id}_seed{self.seed}"


def result_file(workdir: Path, network: Network) -> Path:
    """Where the outcome of a network is written, once and whole."""
    return workdir / FOLDER / f"{network.name}.json"


def write_result(
    workdir: Path,
    network: Network,
    *,
    dataset: str,
    accuracy: Mapping[str, float],
    protocol: Mapping[str, Any],
    **more: Any,
) -> None:
    """Writes the outcome of a network.

    Args:
      dataset: name of its column in the table.
      accuracy: by metric of the table, in [0, 1].
      protocol: all that figures of one data set must have in common.
      more: for the reader.
    """
    content = {"dataset": dataset, **network._asdict(), "code": nasbench201.to_code(network.id), "accuracy": accuracy}
    write_json(result_file(workdir, network), {**content, "protocol": protocol, **more})


def merge(folders: Iterable[str | os.PathLike]) -> dict[str, Any]:
    """Puts the results of work directories into one table of runs, of the form that `load_robbench` reads.

    The order of networks, and by whom and when they were trained, leave no trace. AutoAttack is one bare number, as
    published: that of the seed it judged, or the mean over them; the other metrics have theirs by seed, and where
    there are three, their mean.

    Args:
      folders: work directories of `rnas tabular train`.

    Returns:
      Data set → id → metric → seed → accuracy.

    Raises:
      ValueError: no result, one that cannot be read, two that disagree, or two protocols for one data set.
    """
    folders = [Path(folder) for folder in folders]
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    sources: dict[str, Path] = {}
    for path in [path for folder in folders for path in sorted((folder / FOLDER).glob("*.json"))]:
        result = read_json(path)
        if not isinstance(result, dict) or not result.keys() >= _KEYS or result["accuracy"].keys() - set(METRICS):
            raise ValueError(f"{path} is no result of `rnas tabular train`; remove it to have it made anew.")
        dataset = result["dataset"]
        first = sources.setdefault(dataset, path)
        if first != path and read_json(first)["protocol"] != result["protocol"]:
            raise ValueError(
                f"{path} and {first} are of different protocols and do not belong into one column: "
                f"{_difference(result['protocol'], read_json(first)['protocol'])}."
            )
        key = dataset, result["id"], result["seed"]
        if found.setdefault(key, result)["accuracy"] != result["accuracy"]:
            raise ValueError(f"{path} has other figures than another result of id {key[1]}, seed {key[2]}; remove one.")
    if not found:
        raise ValueError(f"no results in {', '.join(map(str, folders))}; `rnas tabular train` writes them.")
    table: dict[str, Any] = {}
    for dataset, number, seed in sorted(found):
        metrics = table.setdefault(dataset, {}).setdefault(str(number), {})
        for metric in METRICS:
            if metric in (accuracy := found[dataset, number, seed]["accuracy"]):
                metrics.setdefault(_NAMES[metric], {})[str(seed)] = accuracy[metric]
    for metrics in (metrics for entries in table.values() for metrics in entries.values()):
        for name, runs in metrics.items():
            mean = float(np.mean(list(runs.values())))
            if name == _NAMES["autoattack"]:
                metrics[name] = mean
            elif len(runs) == 3:
                runs[MEAN_OF_RUNS] = mean
    return table


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return "; ".join(f"{key} {one.get(key)!r} and {other.get(key)!r}" for key in keys)
