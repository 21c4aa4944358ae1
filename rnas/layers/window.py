"""How the kernel of a convolution moves over an image."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

Pair = tuple[int, ...]  # two numbers; a type checker does not count the entries of a slice of a shape
Padding = Sequence[tuple[int, int]]

IMAGES = ("NHWC", "HWIO", "NHWC")


class Window(NamedTuple):
    """Geometry of a convolution; every pair is (along the height, along the width)."""

    kernel: Pair  # size of the kernel
    strides: Pair  # steps between two positions
    padding: Padding  # pixels added (before, after) along each axis
    dilation: Pair  # steps between two entries of the kernel
    groups: int  # of channels

    @property
    def reach(self) -> Pair:
        """Distance between the first and the last pixel under the kernel."""
        return tuple((size - 1) * step for size, step in zip(self.kernel, self.dilation, strict=True))

    def positions(self, size: Pair) -> Pair:
        """Returns how many positions the kernel takes along height and width of images of that size."""
        return tuple(
            (length + sum(pad) - reach - 1) // stride + 1
            for length, pad, reach, stride in zip(size, self.padding, self.reach, self.strides, strict=True)
        )

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

    def shifts(self, x: jax.Array, fill: float = 0) -> list[jax.Array]:
        """Returns what each entry of the kernel meets, row by row: kh * kw arrays [N, h, w, C]; padding is `fill`."""
        # One behind the last position, from the first entry's point of view.
        positions = zip(self.positions(x.shape[1:3]), self.strides, strict=True)
        end = [(count - 1) * stride + 1 for count, stride in positions]
        sides = ((before, after, 0) for before, after in self.padding)
        x = lax.pad(x, jnp.asarray(fill, x.dtype), ((0, 0, 0), *sides, (0, 0, 0)))
        steps = (1, *self.strides, 1)
        return [
            lax.slice(x, (0, row, column, 0), (x.shape[0], row + end[0], column + end[1], x.shape[-1]), steps)
            for row in range(0, self.reach[0] + 1, self.dilation[0])
            for column in range(0, self.reach[1] + 1, self.dilation[1])
        ]

    def shifts_back(self, g: jax.Array, size: Pair, fill: float = 0) -> list[jax.Array]:
        """Returns what images of that size meet in `g` [N, h, w, C], which lies where the window's results do.

        Entry by entry of the kernel, the last first: kh * kw arrays [N, *size, C], `fill` where there is no result.
        The sum of their products with the kernel turned round is the gradient to the images, `g` that to the result.
        """
        # Where the window strides, g is spread out first.
        spread = [(length - 1) * stride + 1 for length, stride in zip(g.shape[1:3], self.strides, strict=True)]
        between = ((0, 0, stride - 1) for stride in self.strides)
        g = lax.pad(g, jnp.asarray(fill, g.dtype), ((0, 0, 0), *between, (0, 0, 0)))
        padding = tuple(
            (reach - before, length + before - width)
            for reach, (before, _), length, width in zip(self.reach, self.padding, size, spread, strict=True)
        )
        return self._replace(padding=padding, strides=(1, 1)).shifts(g, fill)


def sum_of_products(shifts: list[jax.Array], kernel: jax.Array) -> jax.Array:
    """Returns the sum [N, h, w, F] of kh * kw shifted images, each times its entry of `kernel` [kh, kw, 1, F]."""
    weights = kernel.reshape(-1, 1, 1, 1, kernel.shape[-1])
    return sum(shift * weight for shift, weight in zip(shifts, weights, strict=True))


def block_size(images: int, limit: int) -> int:
    """Returns the largest divisor of `images` that is not above `limit`, at least 1."""
    return max(size for size in range(1, max(min(images, limit), 1) + 1) if images % size == 0)
