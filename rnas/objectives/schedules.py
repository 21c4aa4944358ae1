"""What a search does when, and how it draws architectures, as functions of the global step.

`steps_per_epoch` are those of the search.
"""

from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp

from rnas.objectives import selector


@dataclasses.dataclass(frozen=True)
class Alternation:
    """Which steps of an epoch update weights and which the architecture: first weights, then architecture.

    Attributes:
      steps_per_epoch: at least 5.
      arch_fraction: share of the steps that update the architecture, rounded down.
      warmup_epochs: at the start, of weight steps alone.
    """

    steps_per_epoch: int
    arch_fraction: float = 0.2
    warmup_epochs: int = 0

    def __post_init__(self):
        if not 0.0 < self.arch_fraction < 1.0:
            raise ValueError(f"arch_fraction must lie between 0 and 1, but {self.arch_fraction} was given.")
        if self.steps_per_epoch < 5:
            raise ValueError(
                f"an epoch of the search has {self.steps_per_epoch} steps, but alternation needs at least 5; "
                "lower search.batch_size or use more data."
            )

    @property
    def arch_steps(self) -> int:
        """Steps of an epoch that update the architecture."""
        return int(self.arch_fraction * self.steps_per_epoch + 1e-9)

    @property
    def weight_steps(self) -> int:
        """Steps of an epoch that update the weights."""
        return self.steps_per_epoch - self.arch_steps

    def is_weight_step(self, step):
        """Returns whether the global `step` (integer or array) updates the weights."""
        warming = step < self.warmup_epochs * self.steps_per_epoch
        return warming | (step % self.steps_per_epoch < self.weight_steps)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Gumbel-softmax of widths and tutors at a temperature that falls: max(start·exp(−decay·epoch), minimum).

    Attributes:
      start, decay, minimum: of the temperature; decay per epoch.
      hard: whether tutors are one-hot, with the gradient of the soft sample.
    """

    start: float
    decay: float
    minimum: float
    hard: bool
    steps_per_epoch: int

    def temperature(self, step: jax.Array) -> jax.Array:
        """Returns the temperature at the global `step`."""
        return selector.temperature(step // self.steps_per_epoch, self.start, self.decay, self.minimum)

    def widths(self, key: jax.Array, logits: Sequence[jax.Array], step: jax.Array) -> tuple[jax.Array, ...]:
        """Returns a soft sample [n_b] for the logits of each block."""
        return tuple(
            selector.gumbel_softmax(jax.random.fold_in(key, block), theta, self.temperature(step))
            for block, theta in enumerate(logits)
        )

    def tutors(self, key: jax.Array, logits: jax.Array, step: jax.Array) -> jax.Array:
        """Returns a sample [n_s, n_t] for logits of that shape, whose rows sum to 1."""
        return selector.gumbel_softmax(key, logits, self.temperature(step), hard=self.hard)


NORMALISED = 0.2507  # standard deviation of CIFAR-10's pixels, which AdvRush divides by: the mean of its channels


@dataclasses.dataclass(frozen=True)
class Curvature:
    """When and how strongly AdvRush's regulariser acts (arXiv 2108.01289).

    The released code takes slopes of the mean loss of a batch, with respect to normalised inputs, so that it acts far
    more weakly than the formula of the paper does on the loss of each image and its pixels.

    Attributes:
      weight: of the regulariser.
      first_epoch: from which on it acts.
      unit: of distances and slopes, in pixel units: 1, or the standard deviation that inputs are divided by.
      images: whose mean loss slopes are taken of: 1, or the images of a batch over all devices.
    """

    weight: float
    first_epoch: int
    steps_per_epoch: int
    unit: float = 1.0
    images: int = 1

    @classmethod
    def at_scale(
        cls, scale: str, weight: float, first_epoch: int, steps_per_epoch: int, batch_size: int
    ) -> "Curvature":
        """At the scale 'released', that of the published code with `batch_size` images, or 'own'."""
        unit, images = (NORMALISED, batch_size) if scale == "released" else (1.0, 1)
        return cls(weight, first_epoch, steps_per_epoch, unit, images)

    @property
    def factor(self) -> float:
        """Of `input_curvature` of each image's own loss, with distances in pixel units."""
        return self.weight * self.unit / self.images

    def is_on(self, step: jax.Array) -> jax.Array:
        """Returns whether it acts at the global `step`."""
        return step >= self.first_epoch * self.steps_per_epoch

    def distance(self, step: jax.Array) -> jax.Array:
        """Returns the distance at which slopes are compared, in pixel units.

        In units of its own it is 0 in epoch 0, then 0.3 more an epoch, at most 1.5.
        """
        return self.unit * jnp.minimum(0.3 * (step // self.steps_per_epoch), 1.5)


@dataclasses.dataclass(frozen=True)
class ProbabilityPerturbation:
    """How far SmoothDARTS moves the operations' probabilities (arXiv 2002.05283): further with every epoch.

    Attributes:
      epochs: of the search.
      first: radius in epoch 0.
      growth: of the radius until the end.
    """

    epochs: int
    steps_per_epoch: int
    first: float = 0.03
    growth: float = 0.27

    def radius(self, step: jax.Array) -> jax.Array:
        """Returns the largest change of a probability at the global `step`."""
        return self.first + self.growth * (step // self.steps_per_epoch) / self.epochs
