"""The head of a cell network."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnas.layers.initializers import UNIFORM_FAN_IN, uniform


def classify(x: jax.Array, num_classes: int) -> jax.Array:
    """Returns logits [N, num_classes], float32, of `x` [N, H, W, C]: its mean over the image, and a dense layer.

    To be called within a module's `nn.compact` method; parameters `classifier/{kernel,bias}`.
    """
    pooled = x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
    bias_init = uniform(1.0 / math.sqrt(x.shape[-1]))
    return nn.Dense(num_classes, kernel_init=UNIFORM_FAN_IN, bias_init=bias_init, name="classifier")(pooled)
