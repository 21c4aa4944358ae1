"""A network at one point of training, and its forward pass."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Network:
    """A module with its variables and, for a supernet, its architecture.

    Attributes:
      model: `model.apply(variables, images[, sample], train=…) -> (logits, out)`.
      params: weights.
      batch_stats: running statistics.
      sample: what a supernet takes besides the images (channel masks, probabilities of operations); None for a fixed
        network.
    """

    model: nn.Module
    params: PyTree
    batch_stats: PyTree
    sample: PyTree = None

    def forward(
        self, images: jax.Array, *, train: bool, update: bool = True, **options
    ) -> tuple[jax.Array, dict[str, jax.Array], PyTree]:
        """Returns (logits, out, running statistics after the pass).

        Args:
          images: [N,H,W,C] in [0, 1].
          train: whether batch statistics normalise.
          update: whether such a pass moves the running ones.
          **options: passed on to the model.
        """
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        args = (images,) if self.sample is None else (images, self.sample)
        apply: Any = self.model.apply  # what it returns depends on `mutable`
        if train and update:
            (logits, out), changed = apply(variables, *args, train=True, mutable=["batch_stats"], **options)
            return logits, out, changed["batch_stats"]
        logits, out = apply(variables, *args, train=train, **options)
        return logits, out, self.batch_stats
