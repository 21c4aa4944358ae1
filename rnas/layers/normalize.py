"""Input normalisation, the first layer of every model."""

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp


class Normalize(nn.Module):
    """Maps pixels in [0, 1] to (x - mean) / std, channel by channel.

    Attributes:
      mean: one number per channel.
      std: one positive number per channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `x` [N, H, W, C], normalised; `mean` and `std` must have C entries."""
        if not len(self.mean) == len(self.std) == x.shape[-1]:
            raise ValueError(
                f"images have {x.shape[-1]} channels; mean={self.mean} and std={self.std} must have as many."
            )
        if min(self.std) <= 0.0:
            raise ValueError(f"std={self.std} must be positive; give 1.0 where nothing is to be scaled.")
        mean, std = (lax.broadcast_to_rank(jnp.asarray(values, x.dtype), x.ndim) for values in (self.mean, self.std))
        return (x - mean) / std
