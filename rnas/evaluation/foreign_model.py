"""Models that other programs compute, as functions of JAX: it calls back for their logits, in the same process."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NO_GRADIENT = (
    "this model is known by its answers alone, it has no gradient: attack it by {}, and by the images that fooled "
    "another model (transfer)."
)


def callback_logits(
    logits: Callable[[Any], np.ndarray],
    classes: Callable[[tuple[int, ...]], int],
    gradient: Callable[[Any, Any], np.ndarray] | None = None,
) -> Callable[[jax.Array], jax.Array]:
    """A foreign model as `rnas.attacks` and `rnas.evaluation.assess_function` take models.

    Args:
      logits: arrays [..., H, W, C], float32 in [0, 1], with any axes in front → [..., K], float32. Several threads may
        call it at a time.
      classes: (H, W, C) → K; raises ValueError for images that the model does not take.
      gradient: (images [..., H, W, C], cotangent [..., K]) → the gradient to the images, of their shape. None of a
        model that has none: to differentiate the function raises ValueError.

    Returns images [N, H, W, C] → logits [N, K], float32, which can be compiled and mapped, and with a gradient be
    differentiated backwards, once.
    """

    @jax.custom_vjp
    def logits_fn(images: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct((images.shape[0], classes(images.shape[1:])), jnp.float32)
        return jax.pure_callback(logits, shape, images, vmap_method="broadcast_all")

    def forward(images):
        if gradient is None:
            raise ValueError(NO_GRADIENT.format("square"))
        return logits_fn(images), images

    def backward(images, cotangent):
        assert gradient is not None  # `forward` has refused
        shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
        return (jax.pure_callback(gradient, shape, images, cotangent, vmap_method="broadcast_all"),)

    logits_fn.defvjp(forward, backward)
    return logits_fn
