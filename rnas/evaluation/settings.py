"""What an attack may do, and which attacks are run."""

from dataclasses import dataclass

from rnas.attacks import catalogue
from rnas.attacks.auto_attack import Plan, plan_auto_attack
from rnas.attacks.programs import runs_of


@dataclass(frozen=True)
class Settings:
    """How to attack.

    Attributes:
      attack: 'auto_attack', or names of `rnas.attacks.catalogue`, separated by commas.
      version: of AutoAttack.
      seed: of every random draw.
      batch_size: the largest, over all devices.
      individually: every attack on every correctly classified example, not only on those that no attack has fooled yet.
      transfer: folders of finished attacks on other models, whose images are tried on this one.
    """

    attack: str = catalogue.AUTO_ATTACK
    version: str = "standard"
    seed: int = 0
    batch_size: int = 128
    individually: bool = False
    transfer: tuple[str, ...] = ()

    def plan(self, norm: str, num_classes: int) -> Plan:
        """The runs to make, in order; raises ValueError for unknown names."""
        if self.attack == catalogue.AUTO_ATTACK:
            return plan_auto_attack(self.version, norm, num_classes)
        if self.version != "standard":
            raise ValueError(f"version {self.version!r} belongs to auto_attack, not to a list of attacks.")
        attacks = catalogue.parse(self.attack)
        return Plan("", tuple(run for attack in attacks for run in runs_of(attack, norm, num_classes)), 1)
