"""The network around the cells: its blocks, its taps, and what it costs."""

from collections.abc import Sequence

import numpy as np

from rnas.spaces.nasbench201.architecture_names import CONV_1X1, CONV_3X3, OPERATIONS

CHANNELS, CELLS = 16, 5  # of the first stage, and in each of the three stages


def blocks(channels: int = CHANNELS, cells: int = CELLS) -> list[tuple[str, int]]:
    """Returns (name, channels) of every cell and reduction of the network, in forward order.

    Args:
      channels: of the first stage; each further one has twice as many.
      cells: in each of the three stages.
    """
    found = []
    for stage in range(3):
        width = channels * 2**stage
        found += [(f"reduction{stage}", width)] if stage else []
        found += [(f"stage{stage + 1}.cell{cell}", width) for cell in range(cells)]
    return found


def taps(cells: int = CELLS) -> tuple[str, ...]:
    """Returns the names of the network's intermediate outputs, in forward order."""
    return ("stem", *(name for name, _ in blocks(cells=cells)))


def operation_costs(
    kind: str,
    *,
    image_size: int = 32,
    num_classes: int = 10,
    inputs: int = 3,
    channels: int = CHANNELS,
    cells: int = CELLS,
) -> tuple[int, np.ndarray]:
    """What the network costs without its cells' edges, and what each operation adds on one edge of all cells.

    Args:
      kind: 'macs' counts multiply-accumulates of convolutions and classifier for one image; 'params' counts
        weights, biases, BatchNorm scale and shift.
      image_size: side of the square image in pixels, a multiple of 4.
      num_classes: K.
      inputs: channels of the image.
      channels: of the first stage.
      cells: in each stage.

    Returns:
      (integer, [5] int64).

    Raises:
      ValueError: for an unknown kind or another side.
    """
    if kind not in ("macs", "params"):
        raise ValueError(f"unknown cost kind {kind!r}; expected 'macs' or 'params'.")
    check_image_size(image_size)
    macs = kind == "macs"

    def convolution(side, inputs, outputs, kernel, norm=True):
        weights = inputs * outputs * kernel**2
        return side**2 * weights if macs else weights + 2 * norm * outputs

    fixed = convolution(image_size, inputs, channels, 3)
    of_operation = np.zeros(len(OPERATIONS), np.int64)
    width, side = channels, image_size
    for stage in range(3):
        if stage:
            side //= 2
            fixed += convolution(side, width, 2 * width, 3) + convolution(side, 2 * width, 2 * width, 3)
            fixed += convolution(side, width, 2 * width, 1, norm=False)
            width *= 2
        of_operation[CONV_1X1] += cells * convolution(side, width, width, 1)
        of_operation[CONV_3X3] += cells * convolution(side, width, width, 3)
    fixed += width * num_classes + (0 if macs else num_classes + 2 * width)
    return fixed, of_operation


def cost(indices: Sequence[int] | np.ndarray, *, kind: str = "macs", **network: int) -> np.ndarray:
    """Cost of networks, as `operation_costs` counts it.

    Every edge of an encoding counts, also one whose value never reaches the output, so that members of a class may
    differ.

    Args:
      indices: [..., 6] operation indices.
      **network: images and size of the network, as `operation_costs` takes them.

    Returns:
      [...] int64.
    """
    fixed, of_operation = operation_costs(kind, **network)
    return fixed + of_operation[np.asarray(indices)].sum(-1)


def check_image_size(side: int) -> None:
    """Raises ValueError unless images of that side, in pixels, can be halved twice."""
    if side < 4 or side % 4:
        raise ValueError(f"images of side {side}: the network halves them twice; the side must be a multiple of 4.")
