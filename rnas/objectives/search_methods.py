"""Strategies of a search over cells: which validation losses there are, and the direction of the architecture."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnas.objectives.min_norm import min_norm_direction

PyTree = Any


@dataclasses.dataclass(frozen=True)
class SearchKind:
    """What distinguishes a search strategy."""

    pair: bool = False  # it weighs the natural loss against the objective's; otherwise the objective's is alone
    combine: str = "min_norm"  # of a pair: min_norm or sum
    staged: bool = False  # the first epochs follow the objective's loss alone
    curvature: str = ""  # AdvRush's regulariser in the validation loss: "" (none), or a scale of `Curvature`
    perturbation: str = ""  # what the weights train at: "" (the architecture as it is), uniform, adversarial


SEARCH_METHODS = {
    "dsara": SearchKind(pair=True, staged=True),  # arXiv 2212.14049
    "arnas": SearchKind(pair=True),  # arXiv 2405.05502
    "sum": SearchKind(pair=True, combine="sum"),
    "darts1": SearchKind(),  # arXiv 1806.09055, first order
    "darts2": SearchKind(),  # second order
    "advrush": SearchKind(curvature="released"),  # arXiv 2108.01289
    "advrush_per_image": SearchKind(curvature="own"),  # far stronger
    "smooth_rs": SearchKind(perturbation="uniform"),  # arXiv 2002.05283
    "smooth_adv": SearchKind(perturbation="adversarial"),
}


@dataclasses.dataclass(frozen=True)
class SearchMethod:
    """A search strategy: how gradients of the validation losses become the direction of the architecture.

    Attributes:
      name: a key of `SEARCH_METHODS`.
      steps_per_epoch: of the search.
      stage1_epochs: 'dsara' follows the adversarial loss alone for so many epochs.
      adversarial_weight: λ, of the adversarial loss beside the natural one.
    """

    name: str
    steps_per_epoch: int
    stage1_epochs: int = 0
    adversarial_weight: float = 1.0

    def __post_init__(self):
        if self.name not in SEARCH_METHODS:
            raise ValueError(f"unknown search method {self.name!r}; expected one of {', '.join(SEARCH_METHODS)}.")
        if self.stage1_epochs < 0 or self.adversarial_weight <= 0:
            raise ValueError(
                f"stage1_epochs={self.stage1_epochs} must not be negative, and "
                f"adversarial_weight={self.adversarial_weight} must be positive."
            )

    @property
    def kind(self) -> SearchKind:
        return SEARCH_METHODS[self.name]

    def in_stage_2(self, step: jax.Array) -> jax.Array:
        """Whether the natural loss takes part at the global `step`."""
        if not self.kind.staged:
            return jnp.asarray(True)
        return step >= self.stage1_epochs * self.steps_per_epoch

    def direction(self, natural: PyTree, adversarial: PyTree, step: jax.Array) -> tuple[PyTree, jax.Array]:
        """Returns (direction, γ) from the gradients of a pair of objectives.

        The direction is γ·g_nat + (1 − γ)·λ·g_adv with the min-norm γ; in stage 1 it is λ·g_adv and γ is 0; for 'sum'
        it is g_nat + λ·g_adv and γ is ½. Both stages have the factor λ: one Adam steps through both, and its second
        moment remembers g_adv for a thousand steps, in which a gradient λ times as large would hardly move anything.
        """
        scaled = optax.tree.scale(self.adversarial_weight, adversarial)
        if self.kind.combine == "sum":
            return optax.tree.add(natural, scaled), jnp.float32(0.5)
        shortest, weights = min_norm_direction([natural, scaled])
        stage_2 = self.in_stage_2(step)
        chosen = jax.tree.map(lambda a, b: jnp.where(stage_2, a, b), shortest, scaled)
        return chosen, jnp.where(stage_2, weights[0], 0.0)
