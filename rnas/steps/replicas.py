"""The axis of replicas: the same program on every device, each with its share of the batch. Only steps use it."""

from typing import Any

from jax import lax

AXIS = "batch"

PyTree = Any


def mean_over_replicas(tree: PyTree) -> PyTree:
    """Returns the mean of every leaf over the replicas."""
    return lax.pmean(tree, AXIS)
