"""BatchNorm statistics of one batch, kept for every later pass."""

from typing import Any

import flax.linen as nn
import jax


def frozen_statistics(model: nn.Module, variables: dict[str, Any], images: jax.Array, *inputs: Any) -> dict[str, Any]:
    """Returns the variables with the statistics of this batch as the running ones.

    In inference mode the network then gives on the batch what it gives in training mode, and any other image passes
    through it without touching its neighbours. Statistics of what the batch does not pass through stay as they are.

    Args:
      model: of `rnas.models`, with an attribute `momentum`.
      variables: its parameters and `batch_stats`.
      images: [N, H, W, C] in [0, 1].
      inputs: what the model takes after the images, such as an encoding.
    """
    # Without momentum nothing of the former statistics is kept.
    _, moved = model.clone(momentum=0.0).apply(variables, images, *inputs, train=True, mutable=["batch_stats"])
    return {**variables, **moved}
