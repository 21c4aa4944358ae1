"""What all networks share."""

from collections.abc import Callable
import functools
from typing import Any

import flax.linen as nn
import jax

from rnas.layers import BatchNorm, Conv

Make = Callable[..., nn.Module]  # what makes a layer, from its features, kernel size, stride and name
Output = tuple[jax.Array, dict[str, jax.Array]]  # of a network: logits, and taps by name


class ImageClassifier(nn.Module, kw_only=True):
    """Base of the networks.

    A call takes images [N, H, W, C] in [0, 1] and `train`, whether batch statistics normalise instead of the running
    ones. It returns logits [N, K], float32, and every tap [N, h, w, c] by name.

    Attributes:
      num_classes: length K of the logits.
      mean, std: of the pixels in [0, 1], per channel; normalisation is the first layer.
      momentum: share of the old running statistics that is kept.
      dtype: of the computation; parameters, statistics, pooling and logits are float32.
      axis_name: mapped axis over which batch statistics are averaged.
      weights: [N] of the images in batch statistics, of mean 1 over all replicas; None: all count alike.
    """

    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = None
    weights: jax.Array | None = None

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the intermediate outputs, in forward order."""
        raise NotImplementedError

    @property
    def normalisation(self) -> dict[str, Any]:
        """What batch normalisations, and convolutions with one behind them, are built with."""
        return {name: getattr(self, name) for name in ("momentum", "dtype", "axis_name", "weights")}

    @property
    def conv(self) -> Make:
        return functools.partial(Conv, dtype=self.dtype)

    @property
    def norm(self) -> Make:
        return functools.partial(BatchNorm, **self.normalisation)
