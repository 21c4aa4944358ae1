"""How the kernel of a convolution moves over an image."""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

Pair = tuple[int, int]

IMAGES = ("NHWC", "HWIO", "NHWC")


class Window(NamedTuple):
    """Geometry of a convolution; every pair is (along the height, along the width).

    Attributes:
      kernel: size of the kernel.
      strides: steps between two positions.
      padding: pixels added (before, after) along each axis.
      dilation: steps between two entries of the kernel.
      groups: groups of channels.
    """

    kernel: Pair
    strides: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int

    @property
    def reach(self) -> Pair:
        """Distance between the first and the last pixel under the kernel."""
        return tuple((size - 1) * step for size, step in zip(self.kernel, self.dilation, strict=True))

    def native(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """Returns XLA's convolution of `x` [N, H, W, C] with `kernel` [kh, kw, C / groups, F]."""
        return lax.conv_general_dilated(
            x,
            kernel,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=IMAGES,
            feature_group_count=self.groups,
        )

    def shifts(self, x: jax.Array) -> list[jax.Array]:
        """Returns what each entry of the kernel meets, row by row: kh * kw arrays [N, h, w, C]."""
        x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*pad, 0) for pad in self.padding), (0, 0, 0)))
        n, *padded, channels = x.shape
        # Index of the last position, from the first entry's point of view.
        last = [
            (size - reach - 1) // stride * stride
            for size, reach, stride in zip(padded, self.reach, self.strides, strict=True)
        ]
        return [
            lax.slice(
                x,
                (0, row, column, 0),
                (n, row + last[0] + 1, column + last[1] + 1, channels),
                (1, *self.strides, 1),
            )
            for row in range(0, self.reach[0] + 1, self.dilation[0])
            for column in range(0, self.reach[1] + 1, self.dilation[1])
        ]


def block_size(images: int, limit: int) -> int:
    """Returns the largest divisor of `images` that is not above `limit`, at least 1."""
    return max(size for size in range(1, max(min(images, limit), 1) + 1) if images % size == 0)
