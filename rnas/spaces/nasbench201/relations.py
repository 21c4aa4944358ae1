"""How cells relate: which compute the same function, and which differ in one edge."""

from collections.abc import Sequence
import functools

import numpy as np

from rnas.spaces.nasbench201.architecture_names import (
    EDGES,
    NONE,
    OPERATIONS,
    SIZE,
    SKIP,
    Arch,
    encodings,
    identify,
    ids_by_operation,
)


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
    """Returns the smallest id of the architecture's class (see `representatives`). Raises as `identify`."""
    return int(representatives()[identify(arch)])


@functools.cache
def neighbours() -> np.ndarray:
    """Ids [15625, 24] of the architectures that differ in one edge from each id; read-only.

    Column 4 e + k holds the k-th other operation of edge e.
    """
    found = np.empty((SIZE, len(EDGES), len(OPERATIONS) - 1), np.int64)
    for edge in range(len(EDGES)):
        for k in range(len(OPERATIONS) - 1):
            changed = encodings().copy()
            changed[:, edge] = (changed[:, edge] + k + 1) % len(OPERATIONS)
            found[:, edge, k] = ids_by_operation()[tuple(changed.T)]
    found = found.reshape(SIZE, -1)
    found.flags.writeable = False
    return found
