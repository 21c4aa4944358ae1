"""Fresh variables of a network, a function of the seed and the stage."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rnas.training.trainer import stage_key


def initial_variables(model: nn.Module, config: ConfigDict, stage: str, *inputs: Any) -> dict[str, Any]:
    """Initialises `model(images, *inputs)` for images of `config.data`, by the key of (seed, stage)."""
    images = jnp.zeros((1, *config.data.image_shape))
    return dict(jax.jit(model.init)(stage_key(config.seed, f"{stage}/init"), images, *inputs))
