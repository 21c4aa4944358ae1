"""How much the slope of the loss turns near an image: AdvRush's regulariser (arXiv 2108.01289)."""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp


def input_curvature(loss_fn: Callable[[jax.Array], jax.Array], images: jax.Array, distance) -> jax.Array:
    """Returns 4·‖∇ℓ(x + z) − ∇ℓ(x)‖₂ per example [N], z = h·s/‖s‖₂, s = sign ∇ℓ(x).

    It stands for the largest eigenvalue of the input Hessian: divided by 4h it tends to ‖∇²ℓ·s/‖s‖‖ as h goes to 0.
    z is a constant; the value is differentiable in whatever `loss_fn` closes over.

    Args:
      loss_fn: images [N, ...] → loss per example [N], each of its own image alone.
      images: x [N, ...].
      distance: h, in pixel units; may be traced.
    """

    def slope(points: jax.Array) -> jax.Array:
        return jax.grad(lambda points: jnp.sum(loss_fn(points)))(points)

    here = slope(images)
    sign = lax.stop_gradient(jnp.sign(here))
    axes = tuple(range(1, images.ndim))
    length = jnp.sqrt(jnp.sum(jnp.square(sign), axes, keepdims=True))
    turned = slope(images + distance * sign / jnp.maximum(length, 1.0)) - here
    square = jnp.sum(jnp.square(turned), axes)
    # The norm has no gradient at 0, and needs none.
    return 4.0 * jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
