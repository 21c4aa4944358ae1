"""Cells of NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326): names, canonical form, neighbours, probabilities, cost.

There are 15,625 ways to put one of five operations on each of a cell's six edges. Whatever takes an architecture `arch`
takes it in any of its forms: the id, the code '333133' (one digit an edge), the string '|nor_conv_3x3~0|+|…|', or the
six operation indices; it raises ValueError, with the nearest that is one, where it gets none of these. The network
itself is `rnas.models.nasbench201_network.NASBench201`.
"""

from collections.abc import Sequence
import difflib
import functools
import math
import random
import re

import numpy as np

from rnas.spaces.cell_space import MOST_CELLS, EdgeSpace

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from, to), in the order of a code's digits
SIZE = len(OPERATIONS) ** len(EDGES)
NONE, SKIP, CONV_1X1, CONV_3X3, _ = range(len(OPERATIONS))
CHANNELS, CELLS = 16, 5  # of the first stage, and in each of the three stages
# What a search by mixtures chooses from.
EDGE_SPACE = EdgeSpace("nasbench201", OPERATIONS, ("cell",), tuple((node, source) for source, node in EDGES))

Arch = int | str | Sequence[int] | np.ndarray

_SHAPE = (len(OPERATIONS),) * len(EDGES)
_SHUFFLE_SEED = 88
_ENTRY = re.compile(r"([^|~+]+)~(\d+)")

# -- names -----------------------------------------------------------------------------------------------


@functools.cache
def encodings() -> np.ndarray:
    """Operation indices [15625, 6] of every id, in the published order; read-only.

    The benchmark's authors list all codes in ascending order and shuffle the list by Python's generator with
    seed 88 (`generate_meta_info` of their released code).
    """
    order = list(range(SIZE))
    random.Random(_SHUFFLE_SEED).shuffle(order)
    table = np.stack(np.unravel_index(order, _SHAPE), axis=-1).astype(np.int32)
    table.flags.writeable = False
    return table


@functools.cache
def _ids() -> np.ndarray:
    """[5] * 6: the id at six operation indices."""
    table = np.empty(_SHAPE, np.int64)
    table[tuple(encodings().T)] = np.arange(SIZE)
    return table


def identify(arch: Arch) -> int:
    """Returns the id, 0 to 15624, of an architecture.

    Args:
      arch: an id (an integer, or its decimal digits as text), a code of six digits, a string of NAS-Bench-201
        (white space does not matter), or six operation indices.
    """
    if isinstance(arch, str):
        text = "".join(arch.split())
        return _of_string(text) if "|" in text else _of_digits(text)
    if isinstance(arch, int | np.integer) and not isinstance(arch, bool):
        return _in_range(int(arch))
    indices = np.asarray(arch)
    if indices.shape != (len(EDGES),) or indices.dtype.kind not in "iu":
        raise ValueError(
            f"{arch!r} is no architecture: expected an id from 0 to {SIZE - 1}, a code such as '333133', a string "
            f"such as '{to_string(0)}', or {len(EDGES)} operation indices."
        )
    if indices.min() < 0 or indices.max() >= len(OPERATIONS):
        raise ValueError(f"operation indices {indices.tolist()}: expected 0 to 4, for {', '.join(OPERATIONS)}.")
    return int(_ids()[tuple(indices)])


def _in_range(number: int) -> int:
    if not 0 <= number < SIZE:
        nearest = min(max(number, 0), SIZE - 1)
        hint = f" A code is given as text: '{number}'." if re.fullmatch("[1-4][0-4]{5}", str(number)) else ""
        raise ValueError(f"id {number} is out of range: ids are 0 to {SIZE - 1}; the nearest is {nearest}.{hint}")
    return number


def _of_digits(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError(
            f"{text!r} is no architecture: an id has up to five digits, a code six from 0 to 4, and a string looks "
            f"like '{to_string(0)}'."
        )
    if len(text) < len(EDGES):
        return _in_range(int(text))
    if wrong := re.search("[5-9]", text):
        source, target = EDGES[wrong.start()]
        raise ValueError(
            f"code {text!r} has {wrong[0]} as digit {wrong.start() + 1} (edge {source}→{target}); digits are 0 to 4, "
            f"for {', '.join(OPERATIONS)}. The nearest code is '{re.sub('[5-9]', '4', text)}'."
        )
    return int(_ids()[tuple(map(int, text))])


def _of_string(text: str) -> int:
    entries = _ENTRY.findall(text)
    if len(entries) != len(EDGES) or text != _join([f"{operation}~{start}" for operation, start in entries]):
        raise ValueError(f"{text!r} is malformed: expected six entries operation~node as in '{to_string(0)}'.")
    for (operation, start), (source, target) in zip(entries, EDGES, strict=True):
        if operation not in OPERATIONS:
            near = difflib.get_close_matches(operation, OPERATIONS, n=1, cutoff=0.4)
            nearest = f" The nearest is {near[0]!r}." if near else ""
            raise ValueError(f"no operation is named {operation!r}; there are {', '.join(OPERATIONS)}.{nearest}")
        if int(start) != source:
            raise ValueError(
                f"{text!r} has an entry from node {start} where edge {source}→{target} stands; write them as in "
                f"'{to_string(0)}'."
            )
    return int(_ids()[tuple(OPERATIONS.index(operation) for operation, _ in entries)])


def _join(entries: Sequence[str]) -> str:
    """|e|+|e|e|+|e|e|e| of six entries."""
    return "+".join(f"|{'|'.join(node)}|" for node in (entries[:1], entries[1:3], entries[3:]))


def encode(arch: Arch) -> tuple[int, ...]:
    """Returns the operation index of each edge; six integers from 0 to 4."""
    return tuple(encodings()[identify(arch)].tolist())


def to_code(arch: Arch) -> str:
    """Returns the code, such as '333133'."""
    return "".join(map(str, encode(arch)))


def to_string(arch: Arch) -> str:
    """Returns the string of NAS-Bench-201, |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."""
    return _join(
        [f"{OPERATIONS[operation]}~{source}" for operation, (source, _) in zip(encode(arch), EDGES, strict=True)]
    )


# -- classes and neighbours ------------------------------------------------------------------------------


@functools.cache
def representatives() -> np.ndarray:
    """The smallest id [15625] of the class of each id, 6,466 different ones; read-only.

    Two cells are of one class if their outputs have the same name: node 0 is '0', an edge of a node named s gives
    '#' for operation none or where s is '#', s itself for a skip, else '(s)@operation'; a node's name is the sorted
    names of its edges, joined by '+'. A '#' among others stays, so that some classes still compute the same
    function: this is the partition of the published benchmarks.
    """
    first: dict[str, int] = {}
    found = np.array([first.setdefault(_output_name(encoding), i) for i, encoding in enumerate(encodings().tolist())])
    found.flags.writeable = False
    return found


def _output_name(encoding: Sequence[int]) -> str:
    names = ["0"]
    for node in (1, 2, 3):
        parts = []
        for operation, (source, target) in zip(encoding, EDGES, strict=True):
            if target == node:
                name = names[source]
                if operation == NONE or name == "#":
                    parts.append("#")
                else:
                    parts.append(name if operation == SKIP else f"({name})@{OPERATIONS[operation]}")
        names.append("+".join(sorted(parts)))
    return names[-1]


@functools.cache
def classes() -> tuple[int, ...]:
    """The representatives of all 6,466 classes, ascending."""
    return tuple(np.unique(representatives()).tolist())


def canonical(arch: Arch) -> int:
    """Returns the smallest id of the architecture's class (see `representatives`)."""
    return int(representatives()[identify(arch)])


@functools.cache
def neighbours() -> np.ndarray:
    """Ids [15625, 24] of the architectures that differ in one edge from each id; read-only.

    Column 4 e + k holds the k-th other operation of edge e.
    """
    columns = []
    for edge in range(len(EDGES)):
        for k in range(1, len(OPERATIONS)):
            changed = encodings().copy()
            changed[:, edge] = (changed[:, edge] + k) % len(OPERATIONS)
            columns.append(_ids()[tuple(changed.T)])
    found = np.stack(columns, axis=1)
    found.flags.writeable = False
    return found


# -- independent probabilities [6, 5] of the operations on each edge --------------------------------------


def most_probable(probabilities: Sequence | np.ndarray) -> int:
    """Returns the id of the cell that has on every edge the most probable operation, the lower index of equals.

    Raises ValueError for another shape, a number that is none or negative, or edges whose sum is not 1.
    """
    return int(_ids()[tuple(_checked(probabilities).argmax(1))])


def log_probabilities(probabilities: Sequence | np.ndarray) -> np.ndarray:
    """Returns the logarithm of the probability [15625] of every cell, -inf for 0. Raises as `most_probable`."""
    with np.errstate(divide="ignore"):
        logs = np.log(_checked(probabilities))
    return np.take_along_axis(logs[None], encodings()[..., None], axis=2)[..., 0].sum(1)


def _checked(probabilities: Sequence | np.ndarray) -> np.ndarray:
    found = np.asarray(probabilities, np.float64)
    expected = len(EDGES), len(OPERATIONS)
    if found.shape != expected:
        raise ValueError(f"probabilities of shape {found.shape}: expected {expected}, of operations on each edge.")
    if not (found >= 0).all() or np.abs(found.sum(1) - 1).max() > 1e-3:
        raise ValueError(f"probabilities {found.tolist()}: expected numbers from 0 that sum to 1 on each edge.")
    return found


# -- the network around the cells ------------------------------------------------------------------------


def blocks(channels: int = CHANNELS, cells: int = CELLS) -> list[tuple[str, int]]:
    """Returns (name, channels) of every cell and reduction of the network, in forward order.

    Args:
      channels: of the first stage; each further one has twice as many.
      cells: in each of the three stages; raises ValueError for too many.
    """
    if cells > MOST_CELLS:
        raise ValueError(f"stages of {cells} cells; expected at most {MOST_CELLS}.")
    found = []
    for stage in range(3):
        width = channels * 2**stage
        found += [(f"reduction{stage}", width)] if stage else []
        found += [(f"stage{stage + 1}.cell{cell}", width) for cell in range(cells)]
    return found


def taps(cells: int = CELLS) -> tuple[str, ...]:
    """Returns the names of the network's intermediate outputs, in forward order."""
    return ("stem", *(name for name, _ in blocks(cells=cells)))


def cost(
    indices: Sequence[int] | np.ndarray,
    *,
    kind: str = "macs",
    image_size: int | tuple[int, int] = 32,
    num_classes: int = 10,
    inputs: int = 3,
    channels: int = CHANNELS,
    cells: int = CELLS,
) -> np.ndarray:
    """Cost [...] int64 of networks.

    Every edge of an encoding counts, also one whose value never reaches the output, so that members of a class may
    differ.

    Args:
      indices: [..., 6] operation indices.
      kind: 'macs' counts multiply-accumulates of convolutions and classifier for one image; 'params' counts
        weights, biases, BatchNorm scale and shift.
      image_size: side of the square image in pixels, or height and width; multiples of 4.
      num_classes: K.
      inputs: channels of the image.
      channels, cells: as `blocks` takes them.

    Raises:
      ValueError: for an unknown kind or another side.
    """
    if kind not in ("macs", "params"):
        raise ValueError(f"unknown cost kind {kind!r}; expected 'macs' or 'params'.")
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    for side in sides:
        check_image_size(side)
    macs, pixels = kind == "macs", math.prod(sides)

    def convolution(pixels, inputs, outputs, kernel, norm=True):
        weights = inputs * outputs * kernel**2
        return pixels * weights if macs else weights + 2 * norm * outputs

    fixed = convolution(pixels, inputs, channels, 3)
    of_operation = np.zeros(len(OPERATIONS), np.int64)
    width = channels
    for stage in range(3):
        if stage:
            pixels //= 4
            fixed += convolution(pixels, width, 2 * width, 3) + convolution(pixels, 2 * width, 2 * width, 3)
            fixed += convolution(pixels, width, 2 * width, 1, norm=False)
            width *= 2
        of_operation[CONV_1X1] += cells * convolution(pixels, width, width, 1)
        of_operation[CONV_3X3] += cells * convolution(pixels, width, width, 3)
    fixed += width * num_classes + (0 if macs else num_classes + 2 * width)
    return fixed + of_operation[np.asarray(indices)].sum(-1)


def check_image_size(side: int) -> None:
    """Raises ValueError unless images of that side, in pixels, can be halved twice."""
    if side < 4 or side % 4:
        raise ValueError(f"images of side {side}: the network halves them twice; the side must be a multiple of 4.")
