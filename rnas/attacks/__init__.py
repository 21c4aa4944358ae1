"""Adversarial attacks as pure functions: arrays in, arrays out, every result behind `stop_gradient`."""

from rnas.attacks.inputs import check_inputs
from rnas.attacks.lengths import radius
from rnas.attacks.losses import cross_entropy, dlr, dlr_targeted, kl_to, margin
from rnas.attacks.pgd import cw, fgsm, mim, pgd, projected_ascent
from rnas.attacks.result import AttackResult
from rnas.attacks.starts import initial_images

__all__ = [
    "AttackResult",
    "check_inputs",
    "cross_entropy",
    "cw",
    "dlr",
    "dlr_targeted",
    "fgsm",
    "initial_images",
    "kl_to",
    "margin",
    "mim",
    "pgd",
    "projected_ascent",
    "radius",
]
