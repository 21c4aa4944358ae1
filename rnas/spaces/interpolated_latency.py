"""Latency of the networks of a width space from measured blocks, differentiable in the widths.

As FBNet has it (arXiv 1812.03443, eq. 3), the latency of a network is the sum of those of its blocks, looked up in a
table. Here a block has been measured at some input and output widths and is interpolated between them, so that the
expected widths of masked channels have a latency too, with a gradient. Blocks that are measured alone lack what a
program does once, and what it saves by having them side by side: the sum is fitted to two whole networks, the smallest
and the largest of the space, and is exact there.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class BlockLatency:
    """Milliseconds of one block by its widths.

    Where a narrower block was measured to take longer than a wider one, the wider one counts as long as it: otherwise
    noise would decide which way a search goes.

    Attributes:
      inputs, outputs: widths in channels at which it was measured, ascending, at least one.
      milliseconds: [inputs, outputs], made not to fall along either axis.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    milliseconds: np.ndarray

    def __post_init__(self):
        found = np.asarray(self.milliseconds, np.float64)
        if found.shape != (len(self.inputs), len(self.outputs)) or not (np.isfinite(found) & (found > 0)).all():
            raise ValueError(
                f"milliseconds of shape {found.shape}: expected positive numbers "
                f"[{len(self.inputs)}, {len(self.outputs)}], one for each pair of widths."
            )
        for name in ("inputs", "outputs"):
            if (widths := getattr(self, name)) != tuple(sorted(set(widths))):
                raise ValueError(f"{name} = {widths}: expected widths in ascending order.")
        for axis in (0, 1):
            found = np.maximum.accumulate(found, axis)
        object.__setattr__(self, "milliseconds", found)

    def __call__(self, width_in: Any, width_out: Any, xp: Any = jnp) -> Any:
        """Bilinear between the measured widths, exact at them; `xp` is the library that computes, JAX or NumPy."""
        rows = _interpolated(width_in, self.inputs, xp.asarray(self.milliseconds), xp)
        return _interpolated(width_out, self.outputs, rows, xp)


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkLatency:
    """Milliseconds of a network by the widths of its blocks: offset + scale · Σ_b latency_b(c_{b-1}, c_b).

    Attributes:
      stem_width: c_{-1}.
      blocks: in forward order.
    """

    stem_width: int
    blocks: tuple[BlockLatency, ...]
    offset: float = 0.0
    scale: float = 1.0

    def fitted(self, smallest: tuple[Sequence[int], float], largest: tuple[Sequence[int], float]) -> "NetworkLatency":
        """The same, fitted to (widths, milliseconds) of two whole networks.

        Raises ValueError where the wider network is not the slower one: latency then says nothing about widths.
        """
        (few, low), (many, high) = smallest, largest
        alone = NetworkLatency(self.stem_width, self.blocks)
        span = alone(many) - alone(few)
        if not (high > low > 0 and span > 0):
            raise ValueError(
                f"the largest network was measured at {high:.4g} ms, the smallest at {low:.4g} ms, their blocks alone "
                f"at {alone(many):.4g} and {alone(few):.4g} ms: the wider one must take longer. Measure again on a "
                "quiet machine; on a device that is far from busy widths do not change the latency."
            )
        scale = (high - low) / span
        return dataclasses.replace(self, offset=low - scale * alone(few), scale=scale)

    def __call__(self, widths: Sequence[Any]) -> Any:
        """Milliseconds at `widths`, one a block: a float for integers, else a scalar array for (soft) scalars."""
        plain = all(isinstance(width, int | np.integer) for width in widths)
        xp, width_in, total = np if plain else jnp, self.stem_width, 0.0
        for block, width_out in zip(self.blocks, widths, strict=True):
            total += block(width_in, width_out, xp)
            width_in = width_out
        total = self.offset + self.scale * total
        return float(total) if plain else total


def _interpolated(x: Any, knots: tuple[int, ...], values: Any, xp: Any) -> Any:
    """Linear along the first axis of `values` [n, ...], which belong to ascending `knots`; the ends go on straight."""
    if len(knots) == 1:
        return values[0]
    ends = xp.asarray(knots, float)
    cell = xp.clip(xp.searchsorted(ends, x, side="right") - 1, 0, len(knots) - 2)
    share = (x - ends[cell]) / (ends[cell + 1] - ends[cell])
    return (1 - share) * values[cell] + share * values[cell + 1]
