"""Adversarial weight perturbation: training at the worst weights nearby (AWP, arXiv 2004.05884)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

PyTree = Any

TINY = 1e-20  # added to the norm of a gradient: one that vanishes moves nothing


def weight_perturbation(params: PyTree, gradients: PyTree, gamma: float) -> PyTree:
    """Returns δ = γ·‖θ‖·∇/‖∇‖ for every kernel θ, and 0 for biases and BatchNorm (AWP, eq. 10).

    Norms are Frobenius, of one tensor each; what has more than one axis is a kernel. The published code takes a step of
    plain SGD on a copy and measures how far it went: its rate cancels.

    Args:
      params: θ.
      gradients: ∇ of the loss at θ, in the structure of `params`, the same on every replica.
      gamma: γ, 0.01 with adversarial training, 0.005 with TRADES.
    """

    def perturb(kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        if kernel.ndim < 2:
            return jnp.zeros_like(kernel)
        return gamma * optax.tree.norm(kernel) / (optax.tree.norm(gradient) + TINY) * gradient

    return jax.tree.map(perturb, params, gradients)
