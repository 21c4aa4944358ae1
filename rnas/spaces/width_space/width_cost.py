"""What a network of given widths costs."""

from collections.abc import Sequence
import math

from rnas.spaces.width_space.inverted_residuals import WidthSpace


def resolutions(space: WidthSpace, image_size: int) -> tuple[int, tuple[int, ...]]:
    """Side of the stem's output and of each block's output, in pixels (3×3, padding 1: ceil(H / stride))."""
    side = math.ceil(image_size / space.stem_stride)
    sides, stem = [], side
    for block in space.blocks:
        side = math.ceil(side / block.stride)
        sides.append(side)
    return stem, tuple(sides)


def cost(
    space: WidthSpace,
    widths: Sequence,
    *,
    image_size: int,
    channels: int = 3,
    num_classes: int = 10,
    kind: str = "macs",
    conv_bias: bool = True,
    mask_expansion: bool = True,
):
    """Cost of a network whose blocks have `widths` output channels; differentiable in the widths.

    Args:
      widths: per block, integers or (effective, soft) scalars.
      image_size: side of the square input in pixels.
      channels: input channels.
      kind: 'macs' counts multiply-accumulates of convolutions and classifier for one image;
        'params' counts weights, biases, BatchNorm scale and shift;
        'released' is the formula of the authors' code (depthwise counted as dense, output resolution and
        width everywhere, e = 1 in the first stage, neither stem nor head), for reproduction only.

    Returns:
      A Python integer for integer widths, else a scalar array.

    Raises:
      ValueError: for an unknown kind.
    """
    if kind not in ("macs", "params", "released"):
        raise ValueError(f"unknown cost kind {kind!r}; expected 'macs', 'params' or 'released'.")
    macs = kind == "macs"
    stem_side, sides = resolutions(space, image_size)

    def layer(weights, out, side, norm=True):
        extras = (conv_bias + 2 * norm) * out
        return side * side * weights if macs else weights + extras

    total = 0
    if kind != "released":
        total += layer(9 * channels * space.stem_width, space.stem_width, stem_side)
    c_in, c_largest, side_in = space.stem_width, space.stem_width, stem_side
    for block, c_out, side in zip(space.blocks, widths, sides, strict=True):
        e = block.expansion
        if kind == "released":
            e = 1 if block.stage == 1 else e
            total += side * side * (c_in * c_out * e + 9 * (e * c_out) ** 2 + e * c_out**2)
        else:
            mid = e * (c_in if mask_expansion else c_largest)
            if e > 1:
                total += layer(c_in * mid, mid, side_in)
            total += layer(9 * mid, mid, side) + layer(mid * c_out, c_out, side)
        c_in, c_largest, side_in = c_out, block.width, side
    if kind != "released":
        if space.pool_features is not None:
            mid = 6 * (c_in if mask_expansion else c_largest)
            total += layer(c_in * mid, mid, side_in)
            total += layer(mid * space.pool_features, space.pool_features, 1, norm=False)
            c_in = space.pool_features
        total += c_in * num_classes + (0 if macs else num_classes)
    return total
