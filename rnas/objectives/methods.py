"""What an adversarial method is: the loss that its attack climbs, the teachers it needs, and what it minimises.

A `Method` holds the coefficients of one method, with the published values as defaults, and its facts: everything else
(passes, attacks, teachers, steps) follows from them. A new method is one class under `@register`, in any file. What a
method carries from step to step is its loss state, a pytree or None.

Losses are per example [N], in nats. In the formulas y is the label; p and q are the softmax of the student's clean and
adversarial logits, t and t' of the robust teacher's, n and n' of those of the naturally trained one. Gradients flow
through p and q wherever they stand, and into no teacher. Adversarial images carry none: the attack stops it.

Divergences sum over the classes. Several public codes average over them, so that their loss is 1/K of the one that is
printed: `kl_scale` multiplies divergences alone, and its default reproduces those codes.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.losses import at, cross_entropy, others
from rnas.objectives.divergences import kl_divergence, softened_divergence, squared_distance, taught_divergence

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
      mixes_labels: whether its loss and its ascent are affine in the label, up to what no gradient sees: then those of
        an image mixed of two are the weighted means of both labels'. Else it is refused with mixed images.
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
    mixes_labels: ClassVar[bool] = True

    def ascent(self, logits: jax.Array, target: jax.Array | None, labels: jax.Array) -> jax.Array:
        """What the attack climbs; `target` [N,K] holds the logits that `away_from` names, None for the labels."""
        return cross_entropy(logits, labels) if target is None else kl_divergence(target, logits)

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
    """Adversarial training (arXiv 1706.06083): -log q_y."""

    name = "pgd_at"
    label = "PGD-AT"
    attacks = True
    clean = False
    start = "uniform"

    def loss(self, logits, labels, progress, loss_state):
        return cross_entropy(logits.adversarial, labels)


@register
@dataclasses.dataclass(frozen=True)
class Trades(Method):
    """TRADES (arXiv 1901.08573): -log p_y + beta·KL(p‖q)."""

    beta: float = 6.0

    name = "trades"
    label = "TRADES"
    attacks = True
    away_from = "student"

    def loss(self, logits, labels, progress, loss_state):
        return cross_entropy(logits.clean, labels) + self.beta * kl_divergence(logits.clean, logits.adversarial)


@register
@dataclasses.dataclass(frozen=True)
class Mart(Method):
    """MART (ICLR 2020): -log q_y - log(1.0001 - max_{c≠y} q_c) + beta·KL(p‖q)·(1 - p_y).

    Logarithms of q are exact; the public code adds 1e-12 to q and 1e-7 to the weight, which differs only where
    q_c < 1e-12 or p_y rounds to 1.
    """

    beta: float = 6.0

    name = "mart"
    label = "MART"
    attacks = True
    mixes_labels = False  # the rival of a label, and a product with its probability

    def loss(self, logits, labels, progress, loss_state):
        log_q = jax.nn.log_softmax(logits.adversarial)
        rival = jnp.exp(at(log_q, jnp.argmax(others(log_q, labels), axis=1)))
        unsure = -jnp.expm1(at(jax.nn.log_softmax(logits.clean), labels))
        boosted = cross_entropy(logits.adversarial, labels) - jnp.log(1.0001 - rival)
        return boosted + self.beta * kl_divergence(logits.clean, logits.adversarial) * unsure


@register
@dataclasses.dataclass(frozen=True)
class Score(Method):
    """SCORE, squared error with a locally self-consistent term (arXiv 2202.10103): ‖p - ỹ‖² + beta·‖q - p‖².

    ỹ is 1 - smoothing at the label and smoothing/(K - 1) elsewhere. beta has no published default; 5 is that of the
    TRADES example in the same code.
    """

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
        num_classes = logits.clean.shape[1]
        truth = jax.nn.one_hot(labels, num_classes)
        truth = (1 - self.smoothing) * truth + self.smoothing / (num_classes - 1) * (1 - truth)
        fit = jnp.sum(jnp.square(jax.nn.softmax(logits.clean) - truth), axis=-1)
        return fit + self.beta * squared_distance(logits.clean, logits.adversarial)


@register
@dataclasses.dataclass(frozen=True)
class Ard(Method):
    """ARD (arXiv 1905.09747, eq. 4): alpha·kl_scale·τ²·KL(t^τ‖q^τ) - (1 - alpha)·log p_y, at temperature τ.

    The clean pass stays at alpha = 1, as published: it moves running statistics.
    """

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
        distilled = self.kl_scale * softened_divergence(logits.teacher, logits.adversarial, self.temperature)
        return self.alpha * distilled + (1 - self.alpha) * cross_entropy(logits.clean, labels)


@register
@dataclasses.dataclass(frozen=True)
class Rslad(Method):
    """RSLAD (arXiv 2108.07969): kl_scale·(5/6·KL(t‖q) + 1/6·KL(t‖p)), without labels.

    The public code averages over the classes, 1/10 on CIFAR-10, and multiplies by 10 on CIFAR-100: 1/10 is both.
    """

    kl_scale: float = 0.1

    name = "rslad"
    label = "RSLAD"
    attacks = True
    needs = ("teacher",)
    away_from = "teacher"

    def loss(self, logits, labels, progress, loss_state):
        adversarial = taught_divergence(logits.teacher, logits.adversarial)
        return self.kl_scale * (5 * adversarial + taught_divergence(logits.teacher, logits.clean)) / 6


@register
@dataclasses.dataclass(frozen=True)
class Akd2(Method):
    """AKD² (Chen et al., ICLR 2021): -(1 - robust - natural)·log q_y + robust·KL(t'‖q) + natural·KL(n'‖q)."""

    robust: float = 0.5
    natural: float = 0.25

    name = "akd2"
    label = "AKD²"
    attacks = True
    clean = False
    needs = ("teacher_adversarial", "natural_adversarial")
    start = "uniform"
    attack_bn = "train"

    def guided(self, logits, labels, progress):
        """The term of the robust teacher [N]."""
        return taught_divergence(logits.teacher_adversarial, logits.adversarial)

    def loss(self, logits, labels, progress, loss_state):
        guided = self.guided(logits, labels, progress)
        remaining = (1 - self.robust - self.natural) * cross_entropy(logits.adversarial, labels)
        natural = self.natural * taught_divergence(logits.natural_adversarial, logits.adversarial)
        return remaining + self.robust * guided + natural


def reliability(method: "Iad1 | Iad2", logits: Logits, labels: jax.Array, progress: TrainProgress) -> jax.Array:
    """How far IAD trusts its robust teacher, w = t'_y^beta [N]; wholly until `first_epoch`. No gradient."""
    begun = progress.epoch >= method.first_epoch
    trust = lax.stop_gradient(jnp.exp(-method.beta * cross_entropy(logits.teacher_adversarial, labels)))
    return jnp.where(begun, trust, 1.0)


@register
@dataclasses.dataclass(frozen=True)
class Iad1(Method):
    """IAD-I (arXiv 2106.04928): alpha·(τ²·KL(t^τ‖q^τ) + (1 - w)·KL(p‖q)) - (1 - alpha)·log p_y.

    ARD until `first_epoch`. From then on the student's own view of the clean image steps in where the teacher is not to
    be trusted, see `reliability`; w does not weigh the teacher's term here.
    """

    alpha: float = 1.0
    beta: float = 0.1
    temperature: float = 1.0
    first_epoch: int = 60  # type: ignore[misc]  # a field in place of the class variable

    name = "iad_1"
    label = "IAD-I"
    attacks = True
    mixes_labels = False  # a power of the teacher's probability of the label
    needs = ("teacher", "teacher_adversarial")
    start = "uniform"
    attack_bn = "train"

    def loss(self, logits, labels, progress, loss_state):
        trust = reliability(self, logits, labels, progress)
        guided = softened_divergence(logits.teacher, logits.adversarial, self.temperature)
        introspective = (1 - trust) * kl_divergence(logits.clean, logits.adversarial)
        return self.alpha * (guided + introspective) + (1 - self.alpha) * cross_entropy(logits.clean, labels)


@register
@dataclasses.dataclass(frozen=True)
class Iad2(Akd2):
    """IAD-II (arXiv 2106.04928): AKD² with robust·(w·KL(t'‖q) + (1 - w)·KL(p‖q)), see `reliability`."""

    beta: float = 0.1
    first_epoch: int = 40  # type: ignore[misc]  # a field in place of the class variable

    name = "iad_2"
    label = "IAD-II"
    clean = True
    mixes_labels = False  # as above

    def guided(self, logits, labels, progress):
        trust = reliability(self, logits, labels, progress)
        guided = trust * super().guided(logits, labels, progress)
        return guided + (1 - trust) * kl_divergence(logits.clean, logits.adversarial)


@register
@dataclasses.dataclass(frozen=True)
class Mtard(Method):
    """MTARD (ECCV 2022): kl_scale·((1 - w)·KL(t'‖q) + w·KL(n‖p)), weighed so that both fall at one pace.

    Its loss state: w, and the means of both divergences in the first step (0 before). w moves towards the share of the
    natural one in their sum, each over its first mean, by `rate` at the first learning rate.
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
        means = average(tuple(jnp.mean(each) for each in self._divergences(logits)))
        new = {
            name: jnp.where(loss_state[name] > 0, loss_state[name], mean)
            for name, mean in zip(("first_adversarial", "first_natural"), means, strict=True)
        }
        # A student that equals its teacher from the start has fallen to 0 of 0, and counts as 0.
        adversarial, natural = (_share(mean, first, 0.0) for mean, first in zip(means, new.values(), strict=True))
        weight, rate = loss_state["natural_weight"], self.rate * progress.relative_rate
        new["natural_weight"] = weight - rate * (weight - _share(natural, natural + adversarial, 0.5))
        return lax.stop_gradient(new)

    def loss(self, logits, labels, progress, loss_state):
        adversarial, natural = self._divergences(logits)
        weight = loss_state["natural_weight"]
        return self.kl_scale * ((1 - weight) * adversarial + weight * natural)

    def _divergences(self, logits: Logits) -> tuple[jax.Array, jax.Array]:
        adversarial = taught_divergence(logits.teacher_adversarial, logits.adversarial)
        return adversarial, taught_divergence(logits.natural, logits.clean)


def _share(part: jax.Array, whole: jax.Array, otherwise: float) -> jax.Array:
    """part / whole, and what it is where the whole is 0."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1.0), otherwise)
