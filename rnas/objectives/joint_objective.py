"""The settings of the joint objective of RNAS-CL (arXiv 2301.08092), and what follows from them.

Search and training, student and teacher share it: with gamma = kl_weight = 0 it is the adversarial method alone, see
`rnas.objectives.methods`.
"""

import dataclasses
from typing import Any, NamedTuple

import jax

from rnas.objectives.methods import METHODS, Method


class ArmTerms(NamedTuple):
    """What one of several networks that train by one objective has of its own: arrays, so that one program trains all.

    Attributes:
      gamma, kl_weight: in place of the objective's, which is not 0 where any of the networks has another than 0; a term
        of weight 0 adds exactly nothing.
      tutors: [n_s] rows of the teacher's maps, see `rnas.objectives.IndexedTutors`; None where the objective has no
        gamma.
    """

    gamma: jax.Array | float
    kl_weight: jax.Array | float
    tutors: Any = None


@dataclasses.dataclass(frozen=True)
class Objective:
    """The joint objective A + kl_weight·KL + gamma·L_attn (arXiv 2301.08092, eq. 2 and 3, extended).

    Attributes:
      adversarial: A, a method; a name among those of `METHODS` stands for it with the published coefficients.
      epsilon, step_size: L∞ radius and attack step, pixels in [0, 1].
      steps: attack iterations.
      start: of the attack: own (as the method was published), uniform, gaussian, none.
      attack_bn: BatchNorm mode of the attack: eval, train_frozen (batch statistics), train (which also moves the
        running ones) or own (as the method was published).
      bn_update: passes of the loss that move running statistics: both, clean, adversarial.
      clean_pass: run the network on clean images although no term of the loss may need it, for its statistics.
      auxiliary: weight of the cross-entropy of the network's auxiliary head, on clean images.
      gamma, kl_weight: weights of cross-layer distillation and of KL(teacher ‖ student).
      size, normalise, reduction: of the attention maps and their loss.
      view: student images that are compared with the teacher's clean ones: clean, adversarial, both.
    """

    adversarial: Any  # a Method; its name is resolved below
    epsilon: float
    step_size: float
    steps: int
    start: str = "own"
    attack_bn: str = "eval"
    bn_update: str = "both"
    clean_pass: bool = False
    auxiliary: float = 0.0
    gamma: float = 0.0
    kl_weight: float = 0.0
    size: int = 14
    normalise: str = "per_sample"
    reduction: str = "sum_layers"
    view: str = "clean"

    def __post_init__(self):
        allowed = {
            "start": ("own", "uniform", "gaussian", "none"),
            "attack_bn": ("eval", "train_frozen", "train", "own"),
            "bn_update": ("both", "clean", "adversarial"),
            "normalise": ("per_sample", "per_batch"),
            "reduction": ("sum_layers", "paper"),
            "view": ("clean", "adversarial", "both"),
        }
        if not isinstance(self.adversarial, Method):
            allowed["adversarial"] = tuple(METHODS)
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise ValueError(
                    f"unknown {field} {getattr(self, field)!r} of the objective; expected one of {', '.join(values)}."
                )
        if "adversarial" in allowed:
            object.__setattr__(self, "adversarial", METHODS[self.adversarial]())
        for field in ("start", "attack_bn"):
            if getattr(self, field) == "own":
                object.__setattr__(self, field, getattr(self.adversarial, field))
        if not self.attacks and self.gamma and self.view != "clean":
            raise ValueError(
                f"attention.view={self.view!r} needs adversarial images, but the objective is 'none'; use 'clean'."
            )

    @property
    def attacks(self) -> bool:
        """Whether training sees adversarial images."""
        return self.adversarial.attacks

    @property
    def needs_teacher(self) -> bool:
        """Whether it needs the robust teacher."""
        return self.needs_teacher_on_clean or "teacher_adversarial" in self.adversarial.needs

    @property
    def needs_natural_teacher(self) -> bool:
        """Whether it needs a second, naturally trained teacher."""
        return bool({"natural", "natural_adversarial"} & set(self.adversarial.needs))

    @property
    def needs_teacher_on_clean(self) -> bool:
        """Whether it needs outputs of the robust teacher for clean images."""
        return bool(self.gamma or self.kl_weight or "teacher" in self.adversarial.needs)

    @property
    def needs_teacher_on_adversarial(self) -> bool:
        """Whether it needs outputs of a teacher for adversarial images, which no cache can hold."""
        return any(name.endswith("adversarial") for name in self.adversarial.needs)

    @property
    def searches(self) -> bool:
        """Whether a search can use it: the method needs no teacher after the attack, and has no loss state."""
        return set(self.adversarial.needs) <= {"teacher"} and self.adversarial.initial_loss_state() is None

    @property
    def needs_clean(self) -> bool:
        """Whether the student runs on clean images."""
        distils_clean = self.kl_weight or (self.gamma and self.view != "adversarial")
        return bool(self.adversarial.clean or distils_clean or self.auxiliary or self.clean_pass)
