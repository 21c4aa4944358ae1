"""What an adversarial method is: the loss that its attack climbs, the teachers it needs, and what it minimises.

A `Method` holds the coefficients of one method, with the published values as defaults, and its facts: everything else
(passes, attacks, teachers, steps) follows from them. A new method is one class under `@register`, in any file. Losses
are per example [N]. What a method carries from step to step is its loss state, a pytree or None.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rnas.objectives.distillation import (
    akd2_loss,
    ard_loss,
    balanced_weight,
    iad_1_loss,
    iad_2_loss,
    kl_divergence,
    mtard_losses,
    reliability,
    rslad_loss,
)
from rnas.objectives.robust_losses import (
    cross_entropy,
    mart_loss,
    pgd_at_loss,
    score_loss,
    squared_distance,
    trades_loss,
)

PyTree = Any


class Logits(NamedTuple):
    """What a loss may look at: logits [N,K] of one batch, None where the method does not need them."""

    clean: jax.Array | None = None  # of the student
    adversarial: jax.Array | None = None
    teacher: jax.Array | None = None  # of the robust teacher, clean images
    teacher_adversarial: jax.Array | None = None
    natural: jax.Array | None = None  # of the naturally trained teacher
    natural_adversarial: jax.Array | None = None


class TrainProgress(NamedTuple):
    """How far training has come, for methods that change on the way.

    Attributes:
      epoch: epochs done, 0 during the first.
      relative_rate: the learning rate over that of the first step.
    """

    epoch: jax.Array | int = 0
    relative_rate: jax.Array | float = 1.0


@dataclasses.dataclass(frozen=True)
class Method:
    """Facts and formulas of a method; those of plain training.

    Attributes:
      name: in configurations, the key of `METHODS`.
      label: on pages.
      attacks: whether it trains on adversarial images.
      clean: whether the student sees clean images too.
      needs: fields of `Logits` that teachers fill.
      away_from: what the attack leads away from: the labels, or the logits of the student or of the teacher on the
        clean images.
      start: of the attack, as published.
      attack_bn: BatchNorm mode during the attack, as published.
      first_epoch: from which on it is itself; until then it is a simpler method.
    """

    name: ClassVar[str] = "none"
    label: ClassVar[str] = "Plain training"
    attacks: ClassVar[bool] = False
    clean: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    away_from: ClassVar[str] = "labels"
    start: ClassVar[str] = "gaussian"
    attack_bn: ClassVar[str] = "eval"
    first_epoch: ClassVar[int] = 0

    def ascent(self, logits: jax.Array, target: jax.Array | None, labels: jax.Array) -> jax.Array:
        """What the attack climbs; `target` [N,K] holds the logits that `away_from` names, None for the labels."""
        return cross_entropy(logits, labels)

    def initial_loss_state(self) -> PyTree:
        """The loss state before the first step; None for a method without one."""
        return None

    def update_loss_state(self, loss_state: PyTree, logits: Logits, progress: TrainProgress, average) -> PyTree:
        """The loss state that this step's loss uses; `average` maps scalars to their means over the replicas."""
        return loss_state

    def loss(self, logits: Logits, labels: jax.Array, progress: TrainProgress, loss_state: PyTree) -> jax.Array:
        """What training minimises, per example [N]."""
        return cross_entropy(logits.clean, labels)


METHODS: dict[str, type[Method]] = {}


def register(method: type[Method]) -> type[Method]:
    """Adds a class of methods to `METHODS`, under its name.

    Raises:
      ValueError: the name belongs to another class.
    """
    if METHODS.setdefault(method.name, method) is not method:
        raise ValueError(f"an adversarial method {method.name!r} exists already; choose another name.")
    return method


register(Method)


@register
@dataclasses.dataclass(frozen=True)
class PgdAt(Method):
    """Adversarial training (arXiv 1706.06083)."""

    name = "pgd_at"
    label = "PGD-AT"
    attacks = True
    clean = False
    start = "uniform"

    def loss(self, logits, labels, progress, loss_state):
        return pgd_at_loss(logits.adversarial, labels)


@register
@dataclasses.dataclass(frozen=True)
class Trades(Method):
    """TRADES (arXiv 1901.08573)."""

    beta: float = 6.0

    name = "trades"
    label = "TRADES"
    attacks = True
    away_from = "student"

    def ascent(self, logits, target, labels):
        return kl_divergence(target, logits)

    def loss(self, logits, labels, progress, loss_state):
        return trades_loss(logits.clean, logits.adversarial, labels, self.beta)


@register
@dataclasses.dataclass(frozen=True)
class Mart(Method):
    """MART (ICLR 2020)."""

    beta: float = 6.0

    name = "mart"
    label = "MART"
    attacks = True

    def loss(self, logits, labels, progress, loss_state):
        return mart_loss(logits.clean, logits.adversarial, labels, self.beta)


@register
@dataclasses.dataclass(frozen=True)
class Score(Method):
    """SCORE, squared error (arXiv 2202.10103)."""

    beta: float = 5.0
    smoothing: float = 0.1

    name = "score"
    label = "SCORE"
    attacks = True
    away_from = "student"
    start = "uniform"
    attack_bn = "train_frozen"

    def ascent(self, logits, target, labels):
        return squared_distance(target, logits)

    def loss(self, logits, labels, progress, loss_state):
        return score_loss(logits.clean, logits.adversarial, labels, self.beta, self.smoothing)


@register
@dataclasses.dataclass(frozen=True)
class Ard(Method):
    """ARD (arXiv 1905.09747). The clean pass stays at alpha = 1, as published: it moves running statistics."""

    alpha: float = 1.0
    temperature: float = 30.0
    kl_scale: float = 0.1

    name = "ard"
    label = "ARD"
    attacks = True
    needs = ("teacher",)
    start = "uniform"
    attack_bn = "train"

    def loss(self, logits, labels, progress, loss_state):
        return ard_loss(
            logits.teacher, logits.clean, logits.adversarial, labels, alpha=self.alpha, temperature=self.temperature,
            kl_scale=self.kl_scale,
        )  # fmt: skip


@register
@dataclasses.dataclass(frozen=True)
class Rslad(Method):
    """RSLAD (arXiv 2108.07969)."""

    kl_scale: float = 0.1

    name = "rslad"
    label = "RSLAD"
    attacks = True
    needs = ("teacher",)
    away_from = "teacher"

    def ascent(self, logits, target, labels):
        return kl_divergence(target, logits)

    def loss(self, logits, labels, progress, loss_state):
        return rslad_loss(logits.teacher, logits.clean, logits.adversarial, self.kl_scale)


@register
@dataclasses.dataclass(frozen=True)
class Akd2(Method):
    """AKD² (Chen et al., ICLR 2021): a robust and a naturally trained teacher."""

    robust: float = 0.5
    natural: float = 0.25

    name = "akd2"
    label = "AKD²"
    attacks = True
    clean = False
    needs = ("teacher_adversarial", "natural_adversarial")
    start = "uniform"
    attack_bn = "train"

    def loss(self, logits, labels, progress, loss_state):
        return akd2_loss(
            logits.teacher_adversarial, logits.natural_adversarial, logits.adversarial, labels, robust=self.robust,
            natural=self.natural,
        )  # fmt: skip


def _trust(logits: Logits, labels: jax.Array, progress: TrainProgress, first_epoch: int, beta: float) -> jax.Array:
    """How far IAD trusts its robust teacher [N]: wholly until `first_epoch`, then as its adversarial logits deserve."""
    return jnp.where(progress.epoch >= first_epoch, reliability(logits.teacher_adversarial, labels, beta), 1.0)


@register
@dataclasses.dataclass(frozen=True)
class Iad1(Method):
    """IAD-I (arXiv 2106.04928): ARD until `first_epoch`; then the teacher's reliability weighs the terms."""

    alpha: float = 1.0
    beta: float = 0.1
    temperature: float = 1.0
    first_epoch: int = 60  # type: ignore[misc]  # a field in place of the class variable

    name = "iad_1"
    label = "IAD-I"
    attacks = True
    needs = ("teacher", "teacher_adversarial")
    start = "uniform"
    attack_bn = "train"

    def loss(self, logits, labels, progress, loss_state):
        trust = _trust(logits, labels, progress, self.first_epoch, self.beta)
        return iad_1_loss(
            logits.teacher, logits.clean, logits.adversarial, labels, trust, alpha=self.alpha,
            temperature=self.temperature,
        )  # fmt: skip


@register
@dataclasses.dataclass(frozen=True)
class Iad2(Method):
    """IAD-II (arXiv 2106.04928): AKD² until `first_epoch`; then the robust teacher's reliability weighs its term."""

    robust: float = 0.5
    natural: float = 0.25
    beta: float = 0.1
    first_epoch: int = 40  # type: ignore[misc]  # a field in place of the class variable

    name = "iad_2"
    label = "IAD-II"
    attacks = True
    needs = ("teacher_adversarial", "natural_adversarial")
    start = "uniform"
    attack_bn = "train"

    def loss(self, logits, labels, progress, loss_state):
        trust = _trust(logits, labels, progress, self.first_epoch, self.beta)
        return iad_2_loss(
            logits.teacher_adversarial, logits.natural_adversarial, logits.clean, logits.adversarial, labels, trust,
            robust=self.robust, natural=self.natural,
        )  # fmt: skip


@register
@dataclasses.dataclass(frozen=True)
class Mtard(Method):
    """MTARD (ECCV 2022): two teachers, weighed so that their losses fall at one pace.

    Its loss state: the weight of the natural loss, and the means of both losses in the first step (0 before).
    """

    rate: float = 0.025
    kl_scale: float = 0.1

    name = "mtard"
    label = "MTARD"
    attacks = True
    needs = ("teacher_adversarial", "natural")

    def initial_loss_state(self):
        return {"natural_weight": jnp.float32(0.5), "first_adversarial": jnp.zeros(()), "first_natural": jnp.zeros(())}

    def update_loss_state(self, loss_state, logits, progress, average):
        adversarial, natural = average(tuple(jnp.mean(each) for each in self._losses(logits)))

        def first(name, value):
            return jnp.where(loss_state[name] > 0, loss_state[name], value)

        new = {
            "first_adversarial": first("first_adversarial", adversarial),
            "first_natural": first("first_natural", natural),
        }
        new["natural_weight"] = balanced_weight(
            loss_state["natural_weight"],
            _over(adversarial, new["first_adversarial"]),
            _over(natural, new["first_natural"]),
            self.rate * progress.relative_rate,
        )
        return lax.stop_gradient(new)

    def loss(self, logits, labels, progress, loss_state):
        adversarial, natural = self._losses(logits)
        weight = loss_state["natural_weight"]
        return self.kl_scale * ((1 - weight) * adversarial + weight * natural)

    def _losses(self, logits: Logits):
        return mtard_losses(logits.teacher_adversarial, logits.natural, logits.clean, logits.adversarial)


def _over(value: jax.Array, first: jax.Array) -> jax.Array:
    """value / first; 0 where both are, as for a student that equals its teacher from the start."""
    return jnp.where(first > 0, value / jnp.where(first > 0, first, 1.0), 0.0)
