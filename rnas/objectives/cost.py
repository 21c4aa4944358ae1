"""What a candidate network's size adds to the search objective."""

from collections.abc import Callable, Sequence
import dataclasses

import jax
import jax.numpy as jnp


def cost_factor(cost: jax.Array, alpha: float, beta: float) -> jax.Array:
    """Returns alpha·log(cost^beta), which multiplies the loss (after FBNet, arXiv 1812.03443).

    Args:
      cost: above 1; multiply-accumulates, parameters or microseconds of the sampled network.
      alpha, beta: RNAS-CL uses 0.2 and 0.5, FBNet 0.2 and 0.6.
    """
    return alpha * beta * jnp.log(cost)


def budget_penalty(cost: jax.Array, target: float, weight: float = 10.0) -> jax.Array:
    """Returns weight·max(0, cost/target - 1)²: nothing within the budget, growing smoothly beyond it.

    `cost` and `target` > 0 in the same unit.
    """
    return weight * jnp.square(jnp.maximum(0.0, cost / target - 1.0))


@dataclasses.dataclass(frozen=True)
class SearchCost:
    """Cost factor n_f and the optional soft budget, from samples of the width selectors.

    Attributes:
      cost: effective widths (per block) -> cost of the factor.
      alpha, beta: see `cost_factor`; alpha = 0 switches the factor off.
      budget: effective widths -> cost that the budget limits; None for no budget.
      target, weight: see `budget_penalty`.
    """

    cost: Callable[[Sequence[jax.Array]], jax.Array]
    alpha: float
    beta: float
    budget: Callable[[Sequence[jax.Array]], jax.Array] | None = None
    target: float = 0.0
    weight: float = 0.0

    def __call__(self, widths: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns (factor, penalty, cost) at the effective widths of the blocks."""
        amount = self.cost(widths)
        factor = cost_factor(amount, self.alpha, self.beta) if self.alpha else jnp.float32(1.0)
        penalty = jnp.float32(0.0)
        if self.budget is not None:
            penalty = budget_penalty(self.budget(widths), self.target, self.weight)
        return factor, penalty, amount
