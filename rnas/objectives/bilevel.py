"""Bilevel architecture search: gradients of validation losses at weights one step ahead, and what becomes of them.

The architecture α minimises L_val(w*(α), α), where w*(α) minimises L_train(·, α). DARTS (arXiv 1806.09055, eq. 6)
puts one step of SGD in place of w*: w' = w − ξ·(μ·v + ∇_w L_train(w, α) + λ_w·w). The gradient is then

  g = ∇_α L_val(w', α) − ξ·∇²_{α,w} L_train(w, α)·u,   u = ∇_{w'} L_val(w', α).

Several validation losses share w' and the Hessian of the training loss. They are one function of several batches,
which pass one after the other through one program, since such programs take long to compile. Nothing here knows how
many replicas there are: their mean enters as the function `average`, at the places where what follows is not linear in
it.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import optax

from rnas.objectives import min_norm_direction

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
    """Gradients of the validation losses with respect to the architecture, the losses, and their aux."""

    gradients: tuple[PyTree, ...]
    losses: tuple[jax.Array, ...]
    aux: tuple[Any, ...]


def virtual_step(
    weights: PyTree, gradient: PyTree, momentum_buffer: PyTree, rate, *, momentum: float, decay: float
) -> PyTree:
    """Returns w − ξ·(μ·v + ∇ + λ_w·w): one step of SGD with momentum and coupled decay, without clipping.

    Args:
      gradient: ∇_w of the training loss.
      momentum_buffer: v, the running sum that `optax.trace` keeps.
      rate: ξ, the learning rate.
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
      batches: what it is taken of, one entry an objective along the first axis of every leaf, [K, ...].
      momentum_buffer: of the weights' optimiser.
      rate: ξ, its learning rate.
      average: mean over the replicas.

    Returns:
      Gradients averaged over the replicas; losses and aux of this replica.
    """

    def validate(at: PyTree, argnums: tuple[int, ...]):
        slopes = jax.value_and_grad(validation_loss, argnums, has_aux=True)
        return lax.map(lambda batch: slopes(at, architecture, batch), batches)

    def bilevel(gradients: PyTree, losses: jax.Array, aux: Any) -> Bilevel:
        return Bilevel(tuple(unstacked(average(gradients), len(losses))), losses, aux)

    if look_ahead.second_order == "none":
        (losses, aux), (gradients,) = validate(weights, (1,))
        return bilevel(gradients, losses, aux)

    def both(weights):
        to_weights, to_architecture = jax.grad(lambda w, a: train_loss(w, a)[0], (0, 1))(weights, architecture)
        return to_architecture, to_weights

    _, gradient = both(weights)

    if look_ahead.second_order == "exact":

        def product(direction):
            # Linearised once for all directions this would be faster by the gradient it repeats, but everything that
            # gradient computes would be kept, in twice the memory.
            return jax.jvp(lambda w: both(w)[0], (weights,), (direction,))[1]

    else:

        def product(direction):
            length = optax.tree.norm(direction)
            radius = look_ahead.radius / jnp.where(length > 0, length, 1.0)  # along 0 any radius gives 0
            sides = lax.map(
                lambda reach: both(jax.tree.map(lambda w, d: w + reach * d, weights, direction))[0],
                jnp.stack([radius, -radius]),
            )
            there, back = unstacked(sides, 2)
            return jax.tree.map(lambda a, b: (a - b) / (2 * radius), there, back)

    ahead = virtual_step(
        weights, average(gradient), momentum_buffer, rate, momentum=look_ahead.momentum, decay=look_ahead.decay
    )
    (losses, aux), (directions, gradients) = validate(ahead, (0, 1))
    products = lax.map(product, average(directions))
    return bilevel(jax.tree.map(lambda g, h: g - rate * h, gradients, products), losses, aux)


def unstacked(tree: PyTree, count: int) -> list[PyTree]:
    """Returns the `count` entries along the first axis of every leaf."""
    return [jax.tree.map(lambda leaf, index=index: leaf[index], tree) for index in range(count)]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What sets a search strategy apart.

    Attributes:
      pair: it weighs the natural loss against the objective's; otherwise the objective's stands alone.
      combine: of a pair: 'min_norm' or 'sum'.
      staged: the first epochs follow the objective's loss alone.
      curvature: the validation loss has AdvRush's regulariser.
      perturbation: what the weights train at: '' (the architecture as it is), 'uniform', 'adversarial'.
    """

    pair: bool = False
    combine: str = "min_norm"
    staged: bool = False
    curvature: bool = False
    perturbation: str = ""


METHODS = {
    "dsara": _Kind(pair=True, staged=True),  # arXiv 2212.14049
    "arnas": _Kind(pair=True),  # arXiv 2405.05502
    "sum": _Kind(pair=True, combine="sum"),
    "darts1": _Kind(),  # arXiv 1806.09055, first order
    "darts2": _Kind(),  # second order
    "advrush": _Kind(curvature=True),  # arXiv 2108.01289
    "smooth_rs": _Kind(perturbation="uniform"),  # arXiv 2002.05283
    "smooth_adv": _Kind(perturbation="adversarial"),
}


@dataclasses.dataclass(frozen=True)
class SearchMethod:
    """A search strategy: how gradients of the validation losses become the direction of the architecture.

    Attributes:
      name: a key of `METHODS`.
      steps_per_epoch: of the search.
      stage1_epochs: 'dsara' follows the adversarial loss alone for so many epochs.
      adversarial_weight: λ, of the adversarial loss beside the natural one.
    """

    name: str
    steps_per_epoch: int
    stage1_epochs: int = 0
    adversarial_weight: float = 1.0

    def __post_init__(self):
        if self.name not in METHODS:
            raise ValueError(f"unknown search method {self.name!r}; expected one of {', '.join(METHODS)}.")
        if self.stage1_epochs < 0 or self.adversarial_weight <= 0:
            raise ValueError(
                f"stage1_epochs={self.stage1_epochs} must not be negative, and "
                f"adversarial_weight={self.adversarial_weight} must be positive."
            )

    @property
    def kind(self) -> _Kind:
        return METHODS[self.name]

    def in_stage_2(self, step: jax.Array) -> jax.Array:
        """Whether the natural loss has a say at the global `step`."""
        if not self.kind.staged:
            return jnp.asarray(True)
        return step >= self.stage1_epochs * self.steps_per_epoch

    def direction(self, natural: PyTree, adversarial: PyTree, step: jax.Array) -> tuple[PyTree, jax.Array]:
        """Weighs the gradients of a pair of objectives.

        Returns:
          (direction, γ): γ·g_nat + (1 − γ)·λ·g_adv with the min-norm γ; g_adv and 0 in stage 1; g_nat + λ·g_adv and ½
          for 'sum'.
        """
        scaled = optax.tree.scale(self.adversarial_weight, adversarial)
        if self.kind.combine == "sum":
            return optax.tree.add(natural, scaled), jnp.float32(0.5)
        shortest, weights = min_norm_direction([natural, scaled])
        stage_2 = self.in_stage_2(step)
        chosen = jax.tree.map(lambda a, b: jnp.where(stage_2, a, b), shortest, adversarial)
        return chosen, jnp.where(stage_2, weights[0], 0.0)
