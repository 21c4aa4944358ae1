"""The networks of a table: which ones a configuration plans, and the file with the figures of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict

from rnas.artifacts.record import LEFT_OUT, Count, Record, Share, one_of
from rnas.artifacts.table_of_runs import ALL_METRICS, TableOfRuns
from rnas.spaces import nasbench201

FOLDER = "results"


class Network(NamedTuple):
    """One training run of a table: `id` of the cell that stands for its class, and the seed of everything random."""

    id: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.id}_seed{self.seed}"


def planned_networks(archs: Iterable[nasbench201.Arch], seeds: Sequence[int]) -> list[Network]:
    """Returns the networks of a table, seed by seed, the cells of each in the given order.

    A cell stands for its class, and a class counts once; no cells: all classes. Raises ValueError where there is no
    such cell, or a seed is there twice or out of range.
    """
    if len(set(seeds)) != len(seeds) or not seeds or not all(0 <= seed < 2**32 for seed in seeds):
        raise ValueError(f"seeds={tuple(seeds)}: expected one or more different whole numbers from 0 to 2**32 - 1.")
    ids = [nasbench201.canonical(arch) for arch in archs] or nasbench201.classes()
    return [Network(number, seed) for seed in seeds for number in dict.fromkeys(ids)]


def result_file(workdir: Path, network: Network) -> Path:
    """The file that holds the result of a network."""
    return workdir / FOLDER / f"{network.name}.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkResult(Record):
    """What one network has reached; the content of its file."""

    remedy = "It is no result of `rnas tabular train`; remove it, and the command makes it again."

    __pydantic_config__ = ConfigDict(extra="forbid")

    dataset: str  # name of its column in the table
    id: Count
    seed: Count
    code: str  # of the cell
    accuracy: Mapping[Annotated[str, one_of(*ALL_METRICS)], Share]  # by metric of the table, in [0, 1]
    protocol: Mapping[str, Any]  # settings that all figures of one data set must share
    count: Annotated[Count | None, LEFT_OUT] = None  # number of images that the network was judged on
    failed_checks: Annotated[tuple[str, ...] | None, LEFT_OUT] = None  # letters; None where AutoAttack did not run
    versions: Annotated[Mapping[str, str] | None, LEFT_OUT] = None  # package → version
    device: Annotated[str | None, LEFT_OUT] = None  # kind of the accelerator

    @classmethod
    def of(cls, network: Network, **fields: Any) -> NetworkResult:
        """The result of a network; `fields` are the attributes that do not follow from it."""
        return cls(**network._asdict(), code=nasbench201.to_code(network.id), **fields)

    @property
    def network(self) -> Network:
        return Network(self.id, self.seed)


def has_results(workdir: Path) -> bool:
    """Whether a network of this work directory is finished."""
    return any((workdir / FOLDER).glob("*.json"))


def check_protocol(workdir: Path, protocol: Mapping[str, Any]) -> None:
    """Raises ValueError where a work directory has results of another protocol; its results have one in common."""
    for path in [*(workdir / FOLDER).glob("*.json")][:1]:
        found = NetworkResult.read(path).protocol
        if found != protocol:
            raise ValueError(
                f"{path} was made by another protocol: {_difference(found, protocol, ' there, ', ' here')}. Use "
                "another --workdir, or finish this one with the version that began it."
            )


def read_results(folders: Iterable[str | os.PathLike]) -> list[NetworkResult]:
    """Returns the results in work directories of `rnas tabular train`, each network of a data set once.

    Raises ValueError for no result, one that cannot be read, two that disagree, or two protocols for one data set.
    """
    workdirs = [Path(folder) for folder in folders]
    found: dict[tuple[str, Network], NetworkResult] = {}
    first: dict[str, tuple[Path, NetworkResult]] = {}
    for path in [path for workdir in workdirs for path in sorted((workdir / FOLDER).glob("*.json"))]:
        result = NetworkResult.read(path)
        source, other = first.setdefault(result.dataset, (path, result))
        if other.protocol != result.protocol:
            raise ValueError(
                f"{path} and {source} have different protocols and do not belong in one column: "
                f"{_difference(result.protocol, other.protocol)}."
            )
        if found.setdefault((result.dataset, result.network), result).accuracy != result.accuracy:
            raise ValueError(
                f"{path} has other figures than another result of id {result.id}, seed {result.seed}; remove one."
            )
    if not found:
        raise ValueError(f"no results in {', '.join(map(str, workdirs))}; `rnas tabular train` writes them.")
    return list(found.values())


def merge(folders: Iterable[str | os.PathLike]) -> TableOfRuns:
    """Returns the results in work directories as one table of runs. Raises as `read_results`."""
    return TableOfRuns.collect((result.dataset, *result.network, result.accuracy) for result in read_results(folders))


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], between: str = " and ", after: str = "") -> str:
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return "; ".join(f"{key} {one.get(key)!r}{between}{other.get(key)!r}{after}" for key in keys)
