"""The names of a cell: its id, its code '333133' (one digit an edge), its string '|nor_conv_3x3~0|+…|', its indices."""

from collections.abc import Sequence
import difflib
import functools
import random
import re

import numpy as np

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from, to), in the order of a code's digits
SIZE = len(OPERATIONS) ** len(EDGES)

Arch = int | str | Sequence[int] | np.ndarray

NONE, SKIP, CONV_1X1, CONV_3X3, _ = range(len(OPERATIONS))
_SHUFFLE_SEED = 88
_ENTRY = re.compile(r"([^|~+]+)~(\d+)")


@functools.cache
def encodings() -> np.ndarray:
    """Operation indices [15625, 6] of every id, in the published order; read-only.

    The benchmark's authors list all codes in ascending order and shuffle the list by Python's generator with
    seed 88 (`generate_meta_info` of their released code).
    """
    order = list(range(SIZE))
    random.Random(_SHUFFLE_SEED).shuffle(order)
    table = np.stack(np.unravel_index(order, (len(OPERATIONS),) * len(EDGES)), axis=-1).astype(np.int32)
    table.flags.writeable = False
    return table


@functools.cache
def ids_by_operation() -> np.ndarray:
    """[5] * 6: the id at six operation indices."""
    table = np.empty((len(OPERATIONS),) * len(EDGES), np.int64)
    table[tuple(encodings().T)] = np.arange(SIZE)
    return table


def identify(arch: Arch) -> int:
    """Returns the id, 0 to 15624, of an architecture in any of its forms.

    Args:
      arch: an id (an integer, or its decimal digits as text), a code of six digits, a string of NAS-Bench-201
        (white space does not matter), or six operation indices.

    Raises:
      ValueError: where it is none of these; names the nearest that is, if one is near.
    """
    if isinstance(arch, str):
        return _identify_text("".join(arch.split()))
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
    return int(ids_by_operation()[tuple(indices)])


def _identify_text(text: str) -> int:
    if "|" in text:
        return _identify_string(text)
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError(
            f"{text!r} is no architecture: an id has up to five digits, a code six from 0 to 4, and a string looks "
            f"like '{to_string(0)}'."
        )
    if len(text) < len(EDGES):
        return _in_range(int(text))
    digits = [int(digit) for digit in text]
    if max(digits) >= len(OPERATIONS):
        near = "".join(str(min(digit, len(OPERATIONS) - 1)) for digit in digits)
        place = next(place for place, digit in enumerate(digits) if digit >= len(OPERATIONS))
        raise ValueError(
            f"code {text!r} has {digits[place]} as digit {place + 1} (edge {EDGES[place][0]}→{EDGES[place][1]}); "
            f"digits are 0 to 4, for {', '.join(OPERATIONS)}. The nearest code is {near!r}."
        )
    return int(ids_by_operation()[tuple(digits)])


def _in_range(number: int) -> int:
    if not 0 <= number < SIZE:
        nearest = min(max(number, 0), SIZE - 1)
        hint = f" A code is given as text: '{number}'." if re.fullmatch("[1-4][0-4]{5}", str(number)) else ""
        raise ValueError(f"id {number} is out of range: ids are 0 to {SIZE - 1}; the nearest is {nearest}.{hint}")
    return number


def _identify_string(text: str) -> int:
    entries = _ENTRY.findall(text)
    if len(entries) != len(EDGES) or text != _join([f"{operation}~{start}" for operation, start in entries]):
        raise ValueError(f"{text!r} is malformed: expected six entries operation~node as in '{to_string(0)}'.")
    indices = []
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
        indices.append(OPERATIONS.index(operation))
    return int(ids_by_operation()[tuple(indices)])


def _join(entries: Sequence[str]) -> str:
    """|e|+|e|e|+|e|e|e| of six entries."""
    return "+".join(f"|{'|'.join(node)}|" for node in (entries[:1], entries[1:3], entries[3:]))


def encode(arch: Arch) -> tuple[int, ...]:
    """Returns the operation index of each edge; six integers from 0 to 4. Raises as `identify`."""
    return tuple(encodings()[identify(arch)].tolist())


def to_code(arch: Arch) -> str:
    """Returns the code, such as '333133'. Raises as `identify`."""
    return "".join(map(str, encode(arch)))


def to_string(arch: Arch) -> str:
    """Returns the string of NAS-Bench-201, |op~0|+|op~0|op~1|+|op~0|op~1|op~2|. Raises as `identify`."""
    return _join(
        [f"{OPERATIONS[operation]}~{source}" for operation, (source, _) in zip(encode(arch), EDGES, strict=True)]
    )
