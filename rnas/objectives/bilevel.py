"""Bilevel architecture search: gradients of validation losses at weights one step ahead, and what becomes of them.

The architecture α minimises L_val(w*(α), α), where w*(α) minimises L_train(·, α). DARTS (arXiv 1806.09055, eq. 6)
puts one step of SGD in place of w*: w' = w − ξ·(μ·v + ∇_w L_train(w, α) + λ_w·w). The gradient is then

  g = ∇_α L_val(w', α) − ξ·∇²_{α,w} L_train(w, α)·u,   u = ∇_{w'} L_val(w', α).

Several validation losses share w' and the Hessian of the training loss. They are one function of several batches,
which pass one after the other through one program, since such programs take long to compile. The mean over replicas
enters as the function `average`, at the places where what follows is not linear in it.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import optax

PyTree = Any
Loss = Callable[..., tuple[jax.Array, Any]]  # (weights, architecture[, batch]) -> (scalar, aux)

SECOND_ORDER = ("exact", "finite_difference", "none")


@dataclasses.dataclass(frozen=True)
class LookAhead:
    """How the validation losses see the weights one step ahead.

    Attributes:
      second_order: 'exact' (a Hessian-vector product), 'finite_difference' (as published; not the same where
        activations have kinks) or 'none' (ξ = 0: the weights as they are).
      radius: of the finite difference, over ‖u‖.
      momentum, decay: μ and λ_w of the SGD that trains the weights.
    """

    second_order: str = "exact"
    radius: float = 0.01
    momentum: float = 0.9
    decay: float = 0.0

    def __post_init__(self):
        if self.second_order not in SECOND_ORDER:
            raise ValueError(f"unknown second_order {self.second_order!r}; expected {', '.join(SECOND_ORDER)}.")


class Bilevel(NamedTuple):
    """Gradients of the validation losses with respect to the architecture, averaged over the replicas, losses and aux
    of this replica; one entry an objective."""

    gradients: list[PyTree]
    losses: jax.Array
    aux: Any


def virtual_step(
    weights: PyTree, gradient: PyTree, momentum_buffer: PyTree, rate, *, momentum: float, decay: float
) -> PyTree:
    """Returns w − ξ·(μ·v + ∇ + λ_w·w): one step of SGD with momentum and coupled decay, without clipping.

    v = `momentum_buffer` is the running sum that `optax.trace` keeps, ξ the learning rate.
    """
    return jax.tree.map(lambda w, g, v: w - rate * (momentum * v + g + decay * w), weights, gradient, momentum_buffer)


def architecture_gradients(
    train_loss: Loss,
    validation_loss: Loss,
    batches: PyTree,
    weights: PyTree,
    architecture: PyTree,
    look_ahead: LookAhead,
    *,
    momentum_buffer: PyTree,
    rate: jax.Array,
    average: Callable[[PyTree], PyTree] = lambda tree: tree,
) -> Bilevel:
    """Differentiates validation losses at the weights one training step ahead, by the architecture.

    Args:
      train_loss: of this replica's training images, (weights, architecture) -> (scalar, aux); the aux is not used.
      validation_loss: (weights, architecture, batch) -> (scalar, aux).
      batches: one entry an objective along the first axis of every leaf, [K, ...].
      momentum_buffer, rate: v and ξ of the weights' optimiser.
      average: mean over the replicas.
    """

    def validate(at: PyTree, argnums: tuple[int, ...]):
        slopes = jax.value_and_grad(validation_loss, argnums, has_aux=True)
        return lax.map(lambda batch: slopes(at, architecture, batch), batches)

    if look_ahead.second_order == "none":
        (losses, aux), (gradients,) = validate(weights, (1,))
        return Bilevel(unstacked(average(gradients), len(losses)), losses, aux)

    def both(weights):
        to_weights, to_architecture = jax.grad(lambda w, a: train_loss(w, a)[0], (0, 1))(weights, architecture)
        return to_architecture, to_weights

    _, gradient = both(weights)

    def product(direction):
        if look_ahead.second_order == "exact":
            # Linearised once for all directions this would be faster by the gradient it repeats, but everything that
            # gradient computes would be kept, in twice the memory.
            return jax.jvp(lambda w: both(w)[0], (weights,), (direction,))[1]
        length = optax.tree.norm(direction)
        radius = look_ahead.radius / jnp.where(length > 0, length, 1.0)  # along 0 any radius gives 0
        sides = lax.map(
            lambda reach: both(jax.tree.map(lambda w, d: w + reach * d, weights, direction))[0],
            jnp.stack([radius, -radius]),
        )
        return jax.tree.map(lambda a, b: (a - b) / (2 * radius), *unstacked(sides, 2))

    ahead = virtual_step(
        weights, average(gradient), momentum_buffer, rate, momentum=look_ahead.momentum, decay=look_ahead.decay
    )
    (losses, aux), (directions, gradients) = validate(ahead, (0, 1))
    products = lax.map(product, average(directions))
    gradients = jax.tree.map(lambda g, h: g - rate * h, gradients, products)
    return Bilevel(unstacked(average(gradients), len(losses)), losses, aux)


def unstacked(tree: PyTree, count: int) -> list[PyTree]:
    """Returns the `count` entries along the first axis of every leaf."""
    return [jax.tree.map(lambda leaf, index=index: leaf[index], tree) for index in range(count)]
