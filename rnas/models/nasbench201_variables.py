"""Which variables of the traced NAS-Bench-201 network belong to one of its cells."""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp

from rnas.spaces.nasbench201 import EDGES, OPERATIONS, Arch, encode


def used_parameters(params: Mapping[str, Any], encoding: jax.Array) -> dict[str, Any]:
    """Marks which parameters of the traced network an architecture uses.

    Args:
      params: of the traced network.
      encoding: [6] integers, operation index of each edge; traced or not.

    Returns:
      A boolean scalar for each parameter, in their structure: whether it belongs to an operation that was chosen, or
      to no edge at all.
    """
    edges = {f"edge{source}{target}": encoding[index] for index, (source, target) in enumerate(EDGES)}

    def used(path):
        for edge, part in zip(path, path[1:], strict=False):
            if edge in edges:
                return edges[edge] == OPERATIONS.index(part)
        return jnp.bool_(True)

    flat = flax.traverse_util.flatten_dict(dict(params))
    return flax.traverse_util.unflatten_dict({path: used(path) for path in flat})


def fixed_variables(variables: Mapping[str, Any], arch: Arch) -> dict[str, Any]:
    """Takes the variables of the fixed network of `arch` out of those of the traced one.

    Raises:
      ValueError: see `rnas.spaces.nasbench201.identify`.
    """
    chosen = {
        f"edge{source}{target}": OPERATIONS[operation]
        for operation, (source, target) in zip(encode(arch), EDGES, strict=True)
    }

    def belongs(path):
        return all(chosen.get(edge, part) == part for edge, part in zip(path, path[1:], strict=False))

    flat = flax.traverse_util.flatten_dict(dict(variables))
    return flax.traverse_util.unflatten_dict({path: leaf for path, leaf in flat.items() if belongs(path)})
