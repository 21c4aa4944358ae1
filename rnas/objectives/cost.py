"""What a candidate network's size adds to the search objective."""

import jax
import jax.numpy as jnp


def cost_factor(cost: jax.Array, alpha: float, beta: float) -> jax.Array:
    """Returns alpha·log(cost^beta), which multiplies the loss (after FBNet, arXiv 1812.03443).

    Args:
      cost: positive, multiply-accumulates or parameters of the sampled network.
      alpha, beta: RNAS-CL uses 0.2 and 0.5, FBNet 0.2 and 0.6.
    """
    return alpha * beta * jnp.log(cost)


def budget_penalty(cost: jax.Array, target: float, weight: float = 10.0) -> jax.Array:
    """Returns weight·max(0, cost/target - 1)²: nothing within the budget, growing smoothly beyond it.

    `cost` and `target` > 0 in the same unit.
    """
    return weight * jnp.square(jnp.maximum(0.0, cost / target - 1.0))
