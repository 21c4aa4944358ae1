"""What an evaluation is of: a model, images and a threat, and how they are attacked."""

from dataclasses import dataclass
import functools
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts.attack import AttackSummary, Images, Threat
from rnas.attacks import catalogue
from rnas.attacks.auto_attack import Plan, plan_auto_attack
from rnas.attacks.input_checks import check_count, check_seed
from rnas.attacks.programs import runs_of
from rnas.data.datasets import Split
from rnas.evaluation.evaluated_model import EvaluatedModel


@dataclass(frozen=True)
class Settings:
    """How to attack."""

    attack: str = catalogue.AUTO_ATTACK  # 'auto_attack', or names of `rnas.attacks.catalogue`, separated by commas
    version: str = "standard"  # of AutoAttack
    seed: int = 0  # of every random draw
    batch_size: int = 128  # the largest, over all devices
    individually: bool = False  # every attack on all that is right without attack, fooled before or not
    transfer: tuple[str, ...] = ()  # folders of finished attacks on other models, whose images are tried on this one

    def __post_init__(self):
        for name in ("attack", "version"):
            if not isinstance(given := getattr(self, name), str):
                raise ValueError(f"{name}={given!r}: expected a text, such as {getattr(Settings, name)!r}.")
        check_seed(self.seed)
        check_count("batch_size", self.batch_size, least=1)
        if not isinstance(self.individually, bool):
            raise ValueError(f"individually={self.individually!r}: expected True or False.")
        if not isinstance(self.transfer, tuple | list):
            raise ValueError(f"transfer={self.transfer!r}: expected a tuple of folders.")
        plain = {"seed": int(self.seed), "batch_size": int(self.batch_size), "transfer": tuple(map(str, self.transfer))}
        for name, value in plain.items():  # as the files write them
            object.__setattr__(self, name, value)

    def plan(self, norm: str, num_classes: int) -> Plan:
        """The runs to make, in order; raises ValueError for unknown names."""
        if self.attack == catalogue.AUTO_ATTACK:
            return plan_auto_attack(self.version, norm, num_classes)
        if self.version != "standard":
            raise ValueError(f"version {self.version!r} belongs to auto_attack, not to a list of attacks.")
        attacks = catalogue.parse(self.attack)
        return Plan("", tuple(run for attack in attacks for run in runs_of(attack, norm, num_classes)), 1)


@dataclass(frozen=True, eq=False)
class Task:
    """One evaluation; its outcome goes to `folder`."""

    model: EvaluatedModel
    split: Split
    dataset: Images
    threat: Threat
    settings: Settings
    folder: Path

    @functools.cached_property
    def plan(self) -> Plan:
        return self.settings.plan(self.threat.norm, self.model.num_classes)

    @property
    def identity(self) -> dict[str, Any]:
        """All that the figures depend on."""
        return {
            "format": AttackSummary.format,
            "model": self.model.hash,
            "data": self.dataset.sha256,
            "norm": self.threat.norm,
            "epsilon": self.threat.epsilon,
            "attacks": [run.label for run in self.plan.runs],
            "version": self.plan.version,
            "seed": self.settings.seed,
            "individually": self.settings.individually,
            "transfer": list(self.settings.transfer),
        }

    @property
    def attack_names(self) -> list[str]:
        return list(dict.fromkeys(run.name for run in self.plan.runs))

    @property
    def is_random(self) -> bool:
        """Whether the model draws random numbers."""
        return self.plan.eot > 1

    @property
    def first_batch(self) -> np.ndarray:
        return np.arange(len(self.split))[: self.settings.batch_size]
