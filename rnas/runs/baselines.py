"""What a baseline does otherwise than the student, read off its name.

A name is one part, or parts of different kinds joined by '+', each of which changes one thing:

  terms         no_distillation, kl_only, attention_only, kl_and_attention
  method        an adversarial method, `none` for no attack, `pgd_at_awp` or `trades_awp` with perturbed weights
  tutors        tutors_same_depth, tutors_last_layer, tutors_hub, tutors_random_<k>, tutors_anew, tutors_robust
  architecture  what `Search.baseline` knows: random_<k> in every space, others by space

`plain` stands for no_distillation+none. What no part names is the student's; a method without terms stands alone,
without distillation. `attention_only+none+tutors_random_1` is plain training with attention maps of random tutors.
"""

import dataclasses
import re
from typing import Any

from rnas.objectives import METHODS

ALONE = dict(gamma=0.0, kl_weight=0.0, view="clean")
TERMS: dict[str, tuple[str, dict[str, Any]]] = {  # name → (what people read, fields of the objective)
    "no_distillation": ("no distillation", ALONE),
    "kl_only": ("KL only", dict(gamma=0.0, view="clean")),
    "attention_only": ("attention only", dict(kl_weight=0.0)),
    "kl_and_attention": ("KL and attention", {}),
}
PERTURBED = ("pgd_at_awp", "trades_awp")  # methods at perturbed weights
TUTORS = {
    "tutors_same_depth": "tutors at the same depth",
    "tutors_last_layer": "the last layer as tutor",
    "tutors_hub": "one tutor for all",
    "tutors_anew": "tutors searched anew",
    "tutors_robust": "tutors that an attack moves little",
}
SEARCHED_TUTORS = ("tutors_anew", "tutors_robust")  # by a search of their own, over the tutors alone
RANDOM = re.compile(r"random_(\d+)")  # architectures
RANDOM_TUTORS = re.compile(r"tutors_random_(\d+)")


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The parts of a baseline's name, None where it is like the student."""

    terms: str | None = None
    method: str | None = None
    tutors: str | None = None
    architecture: str | None = None

    @property
    def perturbed(self) -> str | None:
        """The method whose perturbation of the weights it has, of those in `baseline_perturbation`; None for none."""
        return self.method.removesuffix("_awp") if self.method in PERTURBED else None

    @property
    def objective(self) -> dict[str, Any]:
        """Fields of the objective that differ from the student's."""
        changes = dict(TERMS[self.terms][1]) if self.terms else {}
        if self.method is not None:
            changes["adversarial"] = self.perturbed or self.method
        if self.method == "none":
            changes["view"] = "clean"  # there is no other
        return changes

    @property
    def label(self) -> str:
        """Its parts but for the architecture, as people read them; empty where there are none."""
        alone = self.terms == "no_distillation" and self.method is not None  # then the method says it all
        words = [TERMS[self.terms][0]] if self.terms and not alone else []
        if self.tutors:
            draw = RANDOM_TUTORS.fullmatch(self.tutors)
            words.append(f"random tutors {draw[1]}" if draw else TUTORS[self.tutors])
        if self.method is not None:
            name = "no attack" if self.method == "none" else METHODS[self.perturbed or self.method].label
            words.append(f"{name} with AWP" if self.perturbed else name)
        return ", ".join(words)


def known_parts() -> tuple[str, ...]:
    """All parts of names but for those of architectures."""
    return (*TERMS, "plain", *METHODS, *PERTURBED, *TUTORS, "tutors_random_0, tutors_random_1, …")


def parse(name: str) -> Baseline:
    """Reads the name of a baseline; a part of none of the other kinds is taken for an architecture.

    Raises ValueError where two parts are of one kind, or tutors are named for terms without attention.
    """
    parts: dict[str, str] = {}
    for part in name.split("+"):
        found = {"terms": "no_distillation", "method": "none"} if part == "plain" else {_kind(part): part}
        if twice := parts.keys() & found:
            raise ValueError(f"baseline {name!r} has two parts for its {twice.pop()}; name one.")
        parts |= found
    if "method" in parts and "terms" not in parts:
        parts["terms"] = "no_distillation"
    baseline = Baseline(**parts)
    if baseline.tutors and baseline.terms in ("no_distillation", "kl_only"):
        raise ValueError(
            f"baseline {name!r} has tutors, but no attention to learn from them: join attention_only or "
            "kl_and_attention to it."
        )
    return baseline


def _kind(part: str) -> str:
    if part in TERMS:
        return "terms"
    if part in METHODS or part in PERTURBED:
        return "method"
    return "tutors" if part in TUTORS or RANDOM_TUTORS.fullmatch(part) else "architecture"
