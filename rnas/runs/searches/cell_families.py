"""What one family of cells makes of a configuration of the cell search: its supernet, its networks, what is read off.

DARTS' and DSARA's cells are genotypes, stacked; those of NAS-Bench-201 stand in the network of its table, and what a
search finds among them can be looked up there. The search itself knows neither.
"""

import abc
from collections.abc import Mapping
from pathlib import Path
import re
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict
import numpy as np

from rnas.artifacts.architecture import Architecture, CellArchitecture, NASBench201Architecture, load_architecture
from rnas.artifacts.files import read_json
from rnas.models.cell_network import CellNetwork, CellSupernet
from rnas.models.nasbench201_network import NASBench201, NASBench201Supernet
from rnas.spaces import cell_space, nasbench201

LABELS = {  # of published genotypes
    "dsara": "DSARA",
    "arnas": "ARNAS",
    "darts_v2": "DARTS-V2",
    "pdarts": "P-DARTS",
    "racl": "RACL",
    "advrush": "AdvRush",
}


class Family(abc.ABC):
    """Cells of one space.

    Raises (on construction):
      ValueError: naming the key at fault, what it holds and what it may hold.

    Attributes:
      space: what the search chooses from.
      published: names of cells that others found, and what people read.
    """

    space: cell_space.EdgeSpace
    published: Mapping[str, str] = {}

    def __init__(self, config: ConfigDict, common: Mapping[str, Any]):
        """Takes the configuration of the search, and what all its networks are built with."""
        self.config, self._common = config, common

    @property
    @abc.abstractmethod
    def supernet(self) -> nn.Module:
        """The network that is searched, (images, probabilities) → (logits, taps)."""

    @abc.abstractmethod
    def network(self, architecture: Any) -> nn.Module:
        """The network of an architecture."""

    @abc.abstractmethod
    def named(self, name: str) -> Architecture:
        """The architecture of a published name or of a file; raises ValueError where it is neither."""

    @abc.abstractmethod
    def found(self, probabilities: Mapping[str, Any], origin: dict[str, str]) -> tuple[Architecture, str]:
        """What a search arrived at, and a warning where it has collapsed."""

    @abc.abstractmethod
    def random(self, generator: np.random.Generator) -> Architecture:
        """Cells drawn uniformly."""

    @abc.abstractmethod
    def searched_tap(self, tap: str) -> str:
        """The tap of the searched network at the place of a tap of the network that is trained."""

    @property
    def _images(self) -> dict[str, Any]:
        data = self.config.data
        return {"image_shape": tuple(data.image_shape), "num_classes": data.num_classes}


class StackedCells(Family):
    """Cells of DARTS (arXiv 1806.09055) and of DSARA (2212.14049), stacked."""

    space: cell_space.CellSpace
    published = LABELS

    def __init__(self, config: ConfigDict, common: Mapping[str, Any]):
        super().__init__(config, common)
        self.space = cell_space.get_space(config.space)
        for section in ("search", "train"):
            self.space.placement(config[section].cells)  # refuses what has no room for two reductions
        if len(config.width_ratio) not in (0, 3):
            raise ValueError(f"width_ratio = {config.width_ratio} must have three numbers, or none.")

    @property
    def supernet(self) -> CellSupernet:
        search = self.config.search
        return CellSupernet(space=self.space, cells=search.cells, channels=search.channels,
                            width_ratio=self._width_ratio(self.space), **self._common)  # fmt: skip

    def network(self, architecture: CellArchitecture) -> CellNetwork:
        return CellNetwork(
            genotype=architecture.genotype, cells=architecture.cells, channels=architecture.channels,
            width_ratio=architecture.width_ratio, auxiliary=self.config.train.auxiliary > 0,
            **{**self._common, "num_classes": architecture.num_classes},
        )  # fmt: skip

    def named(self, name: str) -> CellArchitecture:
        if name in cell_space.PUBLISHED:
            return self._of(cell_space.PUBLISHED[name], {"published": name})
        if not Path(name).is_file():
            raise ValueError(
                f"genotype = {name!r} is neither a file nor a published genotype: {', '.join(cell_space.PUBLISHED)}."
            )
        content = read_json(name)
        if isinstance(content, dict) and "channels" in content:  # a whole architecture.json
            genotype = getattr(load_architecture(name), "genotype", None)
            if genotype is None:
                raise ValueError(f"genotype = {name!r} is of space {content['space']!r}, not of {self.space.name!r}.")
        else:
            genotype = cell_space.Genotype.from_json(content, where=name)
        return self._of(genotype, {"method": "given", "file": Path(name).name})

    def found(self, probabilities: Mapping[str, Any], origin: dict[str, str]) -> tuple[CellArchitecture, str]:
        genotype = cell_space.discretise(self.space, probabilities)
        poor = " and ".join(cell_space.collapsed(genotype))
        warning = f"the {poor} cell has collapsed: at least six of its edges have no weights." if poor else ""
        return self._of(genotype, origin), warning

    def random(self, generator: np.random.Generator) -> CellArchitecture:
        return self._of(cell_space.random_genotype(self.space, generator), {"method": "random"})

    def searched_tap(self, tap: str) -> str:
        places = self.space.places(self.config.train.cells, self.config.search.cells)
        return re.sub(r"^cell(\d+)", lambda m: f"cell{places[int(m[1])]}", tap)

    def _width_ratio(self, space: cell_space.CellSpace) -> tuple[int, int, int]:
        return tuple(self.config.width_ratio) or space.width_ratio

    def _of(self, genotype: cell_space.Genotype, origin: dict[str, str]) -> CellArchitecture:
        train = self.config.train
        return CellArchitecture(
            genotype=genotype, channels=train.channels, cells=train.cells,
            width_ratio=self._width_ratio(cell_space.get_space(genotype.space)), origin=origin, **self._images,
        )  # fmt: skip


class NASBench201Cells(Family):
    """Cells of NAS-Bench-201 (arXiv 2001.00326); of them `cells` stand in each of three stages."""

    space = nasbench201.EDGE_SPACE

    def __init__(self, config: ConfigDict, common: Mapping[str, Any]):
        super().__init__(config, common)
        if config.width_ratio:
            raise ValueError(
                f"width_ratio = {config.width_ratio}: in this space each stage doubles the channels, use ()."
            )
        for key in ("auxiliary", "drop_path"):
            if config.train[key]:
                raise ValueError(f"train.{key} = {config.train[key]}: networks of this space have none, use 0.")

    @property
    def supernet(self) -> NASBench201Supernet:
        search = self.config.search
        return NASBench201Supernet(channels=search.channels, cells=search.cells, **self._common)

    def network(self, architecture: NASBench201Architecture) -> NASBench201:
        return NASBench201(
            arch=architecture.code, channels=architecture.channels, cells=architecture.cells,
            **{**self._common, "num_classes": architecture.num_classes},
        )  # fmt: skip

    def named(self, name: str) -> NASBench201Architecture:
        if not Path(name).is_file():
            return self._of(name, {"method": "given"})
        architecture = load_architecture(name)
        if not isinstance(architecture, NASBench201Architecture):
            raise ValueError(f"genotype = {name!r} is of another space; expected one of {self.space.name!r}.")
        return self._of(architecture.code, {"method": "given", "file": Path(name).name})

    def found(self, probabilities: Mapping[str, Any], origin: dict[str, str]) -> tuple[NASBench201Architecture, str]:
        rows = np.asarray(probabilities["cell"])
        architecture = self._of(nasbench201.most_probable(rows), origin, operation_probabilities=rows.tolist())
        weights = {nasbench201.CONV_1X1, nasbench201.CONV_3X3} & set(nasbench201.encode(architecture.code))
        return architecture, "" if weights else "the cell has collapsed: none of its edges has weights."

    def random(self, generator: np.random.Generator) -> NASBench201Architecture:
        return self._of(int(generator.integers(nasbench201.SIZE)), {"method": "random"})

    def searched_tap(self, tap: str) -> str:
        many, few = self.config.train.cells, self.config.search.cells
        return re.sub(r"cell(\d+)$", lambda m: f"cell{int(m[1]) * few // many}", tap)

    def _of(self, arch: nasbench201.Arch, origin: dict[str, str], **fields: Any) -> NASBench201Architecture:
        train = self.config.train
        return NASBench201Architecture(
            code=nasbench201.to_code(arch), channels=train.channels, cells=train.cells, origin=origin,
            **self._images, **fields,
        )  # fmt: skip


def families() -> dict[str, type[Family]]:
    """Space → family; every registered space of stacked cells has one."""
    return {**dict.fromkeys(cell_space.SPACES, StackedCells), nasbench201.EDGE_SPACE.name: NASBench201Cells}
