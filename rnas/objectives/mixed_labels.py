"""Labels of images that are made of two: a share of one class, the rest of another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class MixedLabels(NamedTuple):
    """The labels of images mixed of two, with weights that sum to 1.

    Attributes:
      first: integers [N], of the image that keeps its place.
      second: integers [N], of the image that stands in a part of it.
      share: float32 [N] in [0, 1], of the first.
    """

    first: jax.Array
    second: jax.Array
    share: jax.Array


Labels = Any  # integers [N], or `MixedLabels`


def over_labels(value: Callable[[jax.Array], jax.Array], labels: Labels) -> jax.Array:
    """Returns `value(labels)` [N]; of mixed labels the mean of both, weighted by their shares.

    For cross-entropy this is the loss of the soft label, for a squared distance from the label up to a constant.
    """
    if not isinstance(labels, MixedLabels):
        return value(labels)
    return labels.share * value(labels.first) + (1 - labels.share) * value(labels.second)
