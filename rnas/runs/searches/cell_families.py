"""What one family of cells makes of a configuration of the cell search: its supernet, its networks, what is read off.

DARTS' and DSARA's cells are genotypes, stacked; those of NAS-Bench-201 stand in the network of its table, and what a
search finds among them can be looked up there. The search itself knows neither.

Both families refuse on construction, by a ValueError, a key with a value that their networks do not have.
"""

from collections.abc import Mapping
from pathlib import Path
import re
from typing import Any, ClassVar

from ml_collections import ConfigDict
import numpy as np

from rnas.artifacts.architecture import CellArchitecture, NASBench201Architecture, load_architecture
from rnas.artifacts.files import read_json
from rnas.models.cell_network import CellNetwork, CellSupernet
from rnas.models.nasbench201_network import NASBench201, NASBench201Supernet
from rnas.runs import recipes
from rnas.spaces import cell_space, nasbench201

LABELS = {  # of published genotypes
    "dsara": "DSARA",
    "arnas": "ARNAS",
    "darts_v2": "DARTS-V2",
    "pdarts": "P-DARTS",
    "racl": "RACL",
    "advrush": "AdvRush",
}


TOLERANCE = 0.02  # of the MACs of random cells, as a share of the student's
DRAWS = 500  # of operations, until random cells have these MACs


def _no_random_cells(macs: int, nearest: float) -> ValueError:
    return ValueError(
        f"no random cells were found within {TOLERANCE:.0%} of {macs:,} MACs, those of the student; the nearest are "
        f"{nearest:.1%} away. Leave random_0, random_1, … out of baselines."
    )


class StackedCells:
    """Cells of DARTS (arXiv 1806.09055) and of DSARA (2212.14049), stacked."""

    published: ClassVar[Mapping[str, str]] = LABELS  # names of cells that others found, and what people read

    def __init__(self, config: ConfigDict):
        self.config, self._common = config, _common_fields(config)
        self.space = cell_space.get_space(config.space)
        if len(config.width_ratio) not in (0, 3):
            raise ValueError(f"width_ratio = {config.width_ratio} must have three numbers, or none.")
        for section in ("search", "train"):
            widths = self.space.widths(config[section].cells, config[section].channels, self._width_ratio(self.space))
            if odd := [width for place in self.space.reductions(len(widths)) if (width := widths[place]) % 2]:
                raise ValueError(
                    f"{section}.channels = {config[section].channels}: cells that halve images need an even number of "
                    f"channels, and one would have {odd[0]}."
                )
        height, width, _ = config.data.image_shape
        if height % 4 or width % 4:
            raise ValueError(
                f"data.image_shape = {config.data.image_shape}: cells halve images twice; use multiples of 4."
            )
        if config.train.auxiliary and (height != width or height < 32):
            raise ValueError(
                f"train.auxiliary = {config.train.auxiliary} with data.image_shape = {config.data.image_shape}: the "
                "auxiliary head needs square images of at least 32×32 pixels; use 0."
            )

    @property
    def supernet(self) -> CellSupernet:
        """The network that is searched, (images, probabilities) → (logits, taps)."""
        search = self.config.search
        sizes = dict(cells=search.cells, channels=search.channels, width_ratio=self._width_ratio(self.space))
        return CellSupernet(space=self.space, **sizes, **self._common)

    def network(self, architecture: CellArchitecture) -> CellNetwork:
        fields = {key: getattr(architecture, key) for key in ("genotype", "cells", "channels", "width_ratio")}
        fields |= {**self._common, "num_classes": architecture.num_classes}
        return CellNetwork(auxiliary=self.config.train.auxiliary > 0, **fields)

    def named(self, name: str) -> CellArchitecture:
        """The architecture of a published name or of a file; raises ValueError where it is neither."""
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
        """What a search arrived at, and a warning where it has collapsed."""
        genotype = cell_space.discretise(self.space, probabilities)
        poor = " and ".join(cell_space.collapsed(genotype))
        warning = f"the {poor} cell has collapsed: at least six of its edges have no weights." if poor else ""
        return self._of(genotype, origin), warning

    def random(self, generator: np.random.Generator) -> CellArchitecture:
        """Cells drawn uniformly."""
        return self._of(cell_space.random_genotype(self.space, generator), {"method": "random"})

    def random_like(self, found: CellArchitecture, generator: np.random.Generator) -> CellArchitecture:
        """Cells drawn uniformly, whose operations are then drawn anew one by one until the MACs are those of `found`.

        They are met up to `TOLERANCE`; raises ValueError where many draws do not lead there.
        """
        target, drawn = self._macs(found), self.random(generator)
        excess = abs(self._macs(drawn) / target - 1)
        for _ in range(DRAWS):
            if excess <= TOLERANCE and drawn.genotype != found.genotype:
                return drawn
            genotype = cell_space.with_another_operation(drawn.genotype, generator)
            other = self._of(genotype, {"method": "random"})
            closer = abs(self._macs(other) / target - 1)
            if closer < excess or drawn.genotype == found.genotype:
                drawn, excess = other, closer
        raise _no_random_cells(target, excess)

    def _macs(self, architecture: CellArchitecture) -> int:
        sizes = {key: getattr(architecture, key) for key in ("image_shape", "channels", "cells", "width_ratio")}
        return cell_space.macs(architecture.genotype, num_classes=architecture.num_classes, **sizes)

    def searched_tap(self, tap: str) -> str:
        """The tap of the searched network at the place of a tap of the network that is trained."""
        places = self.space.places(self.config.train.cells, self.config.search.cells)
        return re.sub(r"^cell(\d+)", lambda m: f"cell{places[int(m[1])]}", tap)

    def _width_ratio(self, space: cell_space.CellSpace) -> tuple[int, int, int]:
        return tuple(self.config.width_ratio) or space.width_ratio

    def _of(self, genotype: cell_space.Genotype, origin: dict[str, str]) -> CellArchitecture:
        train, width_ratio = self.config.train, self._width_ratio(cell_space.get_space(genotype.space))
        sizes = dict(channels=train.channels, cells=train.cells, **recipes.image_fields(self.config))
        return CellArchitecture(genotype=genotype, width_ratio=width_ratio, origin=origin, **sizes)


class NASBench201Cells:
    """Cells of NAS-Bench-201 (arXiv 2001.00326); of them `cells` stand in each of three stages."""

    space = nasbench201.EDGE_SPACE
    published: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: ConfigDict):
        self.config, self._common = config, _common_fields(config)
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
        fields = {**self._common, "num_classes": architecture.num_classes}
        return NASBench201(arch=architecture.code, channels=architecture.channels, cells=architecture.cells, **fields)

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

    def random_like(self, found: NASBench201Architecture, generator: np.random.Generator) -> NASBench201Architecture:
        """Another cell whose MACs are those of `found` up to `TOLERANCE`; raises ValueError where there is none."""
        height, width, inputs = found.image_shape
        sizes: dict[str, Any] = {"num_classes": found.num_classes, "channels": found.channels, "cells": found.cells}
        macs = nasbench201.cost(nasbench201.encodings(), image_size=(height, width), inputs=inputs, **sizes)
        own = nasbench201.identify(found.code)
        excess = abs(macs / macs[own] - 1)
        excess[own] = np.inf
        if not len(near := np.flatnonzero(excess <= TOLERANCE)):
            raise _no_random_cells(int(macs[own]), excess.min())
        return self._of(int(generator.choice(near)), {"method": "random"})

    def searched_tap(self, tap: str) -> str:
        many, few = self.config.train.cells, self.config.search.cells
        return re.sub(r"cell(\d+)$", lambda m: f"cell{int(m[1]) * few // many}", tap)

    def _of(self, arch: nasbench201.Arch, origin: dict[str, str], **fields: Any) -> NASBench201Architecture:
        train = self.config.train
        fields |= dict(channels=train.channels, cells=train.cells, **recipes.image_fields(self.config))
        return NASBench201Architecture(code=nasbench201.to_code(arch), origin=origin, **fields)


def _common_fields(config: ConfigDict) -> dict[str, Any]:
    return {"momentum": config.bn_momentum, **recipes.network_fields(config)}


def families() -> dict[str, type[StackedCells] | type[NASBench201Cells]]:
    """Space → family; every registered space of stacked cells has one."""
    return {**dict.fromkeys(cell_space.SPACES, StackedCells), nasbench201.EDGE_SPACE.name: NASBench201Cells}
