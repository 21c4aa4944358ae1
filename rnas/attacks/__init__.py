"""Adversarial attacks as pure functions: arrays in, arrays out, every result behind `stop_gradient`."""

from rnas.attacks.apgd import apgd
from rnas.attacks.auto_attack import auto_attack
from rnas.attacks.epsilon_parsing import radius
from rnas.attacks.fab import fab
from rnas.attacks.input_checks import check_inputs
from rnas.attacks.losses import cross_entropy, dlr, dlr_targeted, kl_to, margin
from rnas.attacks.pgd import cw, fgsm, mim, pgd, projected_ascent
from rnas.attacks.random_start import initial_images
from rnas.attacks.result import AttackResult
from rnas.attacks.square import square
