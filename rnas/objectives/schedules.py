"""What a search does when, and how it draws architectures, as functions of the global step."""

import dataclasses

import jax
import jax.numpy as jnp

from rnas.objectives import selector


@dataclasses.dataclass(frozen=True)
class Alternation:
    """Which steps of an epoch update weights and which the architecture: first weights, then architecture."""

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
        return int(self.arch_fraction * self.steps_per_epoch + 1e-9)

    @property
    def weight_steps(self) -> int:
        return self.steps_per_epoch - self.arch_steps

    def is_weight_step(self, step):
        """True where the global `step` (integer or array) updates weights."""
        warming = step < self.warmup_epochs * self.steps_per_epoch
        return warming | (step % self.steps_per_epoch < self.weight_steps)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Gumbel-softmax of widths and tutors: temperature max(start·exp(−decay·epoch), minimum)."""

    start: float
    decay: float
    minimum: float
    hard: bool
    steps_per_epoch: int

    def temperature(self, step):
        return selector.temperature(step // self.steps_per_epoch, self.start, self.decay, self.minimum)

    def widths(self, key, logits, step):
        return tuple(
            selector.gumbel_softmax(jax.random.fold_in(key, block), theta, self.temperature(step))
            for block, theta in enumerate(logits)
        )

    def tutors(self, key, logits, step):
        return selector.gumbel_softmax(key, logits, self.temperature(step), hard=self.hard)


@dataclasses.dataclass(frozen=True)
class Curvature:
    """When and how strongly AdvRush's regulariser acts (arXiv 2108.01289): from `first_epoch` on, with `weight`.

    The distance h at which slopes are compared grows over the epochs 0 to 4 in steps of 0.3, and is 1.5 afterwards.
    """

    weight: float
    first_epoch: int
    steps_per_epoch: int

    def is_on(self, step):
        return step >= self.first_epoch * self.steps_per_epoch

    def distance(self, step):
        return jnp.minimum(0.3 * (step // self.steps_per_epoch), 1.5)


@dataclasses.dataclass(frozen=True)
class ProbabilityPerturbation:
    """How far SmoothDARTS moves the operations' probabilities (arXiv 2002.05283): further with every epoch."""

    epochs: int
    steps_per_epoch: int
    first: float = 0.03
    growth: float = 0.27

    def radius(self, step):
        return self.first + self.growth * (step // self.steps_per_epoch) / self.epochs
