"""A latency table: milliseconds of the blocks of a width space at several widths, which can be the cost of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rnas.artifacts.latency import Timing
from rnas.artifacts.record import Extent, Number, Record, Size
from rnas.spaces.interpolated_latency import BlockLatency, NetworkLatency
from rnas.spaces.width_space import WidthSpace

FILE = "latency_table.json"


@dataclass(frozen=True)
class TableOfBlock:
    """Medians of one block, in milliseconds, at every pair of widths."""

    name: str  # of the space
    inputs: tuple[Size, ...]  # channels, ascending
    outputs: tuple[Size, ...]
    milliseconds: tuple[tuple[Number, ...], ...]  # [inputs, outputs]


@dataclass(frozen=True)
class LatencyTable(Record):
    """The content of the file: blocks that were measured alone, and two whole networks that their sum is fitted to."""

    format = 1
    remedy = "Measure again: rnas describe --config=FILE --latency-table=FILE."

    space: str
    image_shape: tuple[Extent, Extent, Extent]  # [H, W, C]
    num_classes: Size
    options: Mapping[str, bool | str]  # conv_bias, mask_expansion, shortcut, as the configuration has them
    batch: Size  # images at a time
    blocks: tuple[TableOfBlock, ...]
    smallest: Timing  # of whole networks: that of the smallest widths
    largest: Timing
    device: str
    processor: str
    threads: Size
    versions: Mapping[str, str]

    def network_latency(self, space: WidthSpace) -> NetworkLatency:
        """Milliseconds by widths; raises ValueError where the blocks are not those of the space, or hold no latency."""
        names = tuple(block.name for block in space.blocks)
        if tuple(block.name for block in self.blocks) != names:
            raise ValueError(f"the latency table has {len(self.blocks)} blocks, space {space.name!r} has {len(names)}.")
        blocks = tuple(BlockLatency(block.inputs, block.outputs, np.array(block.milliseconds)) for block in self.blocks)
        ends = (space.smallest, self.smallest.median), (space.largest, self.largest.median)
        return NetworkLatency(space.stem_width, blocks).fitted(*ends)
