"""Measures a latency table: the blocks of a width space alone, at several widths, and its smallest and largest network.

A block is measured at batch 1 on images one after the other in one program, so that what a call costs beside the block
does not count. A whole network is called image by image, as it is used.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import numpy as np

from rnas.artifacts.latency import Timing
from rnas.artifacts.latency_table import LatencyTable, TableOfBlock
from rnas.artifacts.run_record import versions
from rnas.models.width_network import FBNet, block_module
from rnas.runs.timing import example_variables, machine, time_network, timed
from rnas.spaces.width_space import resolutions
from rnas.training.progress import Progress

KNOTS = 4  # widths of an axis that are measured, at most; the ends are among them
IMAGES = 16  # of one call

Shape = tuple[int, int, int]


def time_block(module: nn.Module, shape: Shape) -> Timing:
    """Times a block, an image [H, W, C] of `shape` at a time."""
    arrays = jax.device_put(np.random.default_rng(0).standard_normal((IMAGES, 1, *shape)).astype(np.float32))
    variables = jax.device_put(example_variables(module, (1, *shape), None, None, train=False))
    run = jax.jit(
        lambda variables, arrays: jax.lax.map(lambda x: module.apply(variables, x, None, None, train=False)[0], arrays)
    )
    found = timed(lambda: jax.block_until_ready(run(variables, arrays)), 0.1)
    return Timing(found.median / IMAGES, found.low / IMAGES, found.high / IMAGES, found.calls)


def measure_table(
    network: FBNet,
    image_shape: Shape,
    *,
    of_block: Callable[[nn.Module, Shape], Timing] | None = None,
    of_network: Callable[[nn.Module, Shape], Timing] | None = None,
) -> LatencyTable:
    """Measures the space of a network at batch 1 on this device.

    Args:
      network: of the space, whatever its widths.
      of_block, of_network: what measures a block, which takes (array, None, None), and a whole network; None:
        `time_block` and `time_network`.

    Raises ValueError where the largest network is not slower than the smallest.
    """
    of_block, of_network = of_block or time_block, of_network or time_network
    space = network.space
    options = [(space.stem_width,), *(block.options for block in space.blocks)]
    sizes, largest_in = resolutions(space, image_shape), [space.stem_width, *space.largest]
    measured: dict[tuple, list[list[float]]] = {}
    keys, widths = [], []
    for place, block in enumerate(space.blocks):
        knots = _knots(options[place]), _knots(options[place + 1])
        widths.append(knots)
        # Blocks of one kind are measured once.
        keys.append((knots, block.stride, block.expansion, block.width, largest_in[place], sizes[place]))
    pairs = {key: len(key[0][0]) * len(key[0][1]) for key in keys}
    with Progress("latency table", sum(pairs.values()), unit="block") as progress:
        done = 0
        for place, (block, key) in enumerate(zip(space.blocks, keys, strict=True)):
            if key in measured:
                continue
            measured[key] = []
            for width in key[0][0]:
                row = []
                for features in key[0][1]:
                    module = block_module(network, block, width=width, largest=largest_in[place], features=features)
                    row.append(of_block(module, (*sizes[place], width)).median)
                    progress.update(done := done + 1)
                measured[key].append(row)
    plain = network.clone(axis_name=None, weights=None)
    ends = (of_network(plain.clone(widths=widths), image_shape) for widths in (space.smallest, space.largest))
    smallest, largest = ends
    blocks = tuple(
        TableOfBlock(block.name, *knots, tuple(map(tuple, measured[key])))
        for block, knots, key in zip(space.blocks, widths, keys, strict=True)
    )
    table = LatencyTable(
        space=space.name, image_shape=image_shape, num_classes=network.num_classes, options=table_options(network),
        batch=1, blocks=blocks, smallest=smallest, largest=largest, versions=versions(), **machine(),
    )  # fmt: skip
    table.network_latency(space)  # refuses what holds no latency
    return table


def table_options(network: FBNet) -> dict[str, bool | str]:
    """What else the latency of a network depends on."""
    return {name: getattr(network, name) for name in ("conv_bias", "mask_expansion", "shortcut")}


def _knots(options: Sequence[int]) -> tuple[int, ...]:
    """At most `KNOTS` of the widths, the ends among them, ascending."""
    places = np.linspace(0, len(options) - 1, min(len(options), KNOTS)).round().astype(int)
    return tuple(sorted({options[place] for place in places}))
