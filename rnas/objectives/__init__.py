"""Objectives as pure functions: arrays in, one number per example out, nothing reduced over the batch.

Only what a method remembers from step to step is a mean over the batch, see `methods`.
"""

from rnas.objectives.adversarial import (
    cross_entropy,
    mart_loss,
    pgd_at_loss,
    score_loss,
    squared_distance,
    trades_loss,
)
from rnas.objectives.attention import (
    attention_distances,
    attention_energies,
    attention_map,
    attention_maps,
    cross_layer_loss,
    paired_distances,
)
from rnas.objectives.cost import budget_penalty, cost_factor
from rnas.objectives.curvature import input_curvature
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
    softened_divergence,
)
from rnas.objectives.methods import METHODS, Logits, Method, TrainProgress
from rnas.objectives.min_norm import min_norm_direction, min_norm_weights
from rnas.objectives.perturbation import adversarial_perturbation, uniform_perturbation
from rnas.objectives.selector import choose, gumbel_softmax, temperature
from rnas.objectives.weight_perturbation import weight_perturbation

__all__ = [
    "METHODS",
    "Logits",
    "Method",
    "TrainProgress",
    "adversarial_perturbation",
    "akd2_loss",
    "ard_loss",
    "attention_distances",
    "attention_energies",
    "attention_map",
    "attention_maps",
    "balanced_weight",
    "budget_penalty",
    "choose",
    "cost_factor",
    "cross_entropy",
    "cross_layer_loss",
    "gumbel_softmax",
    "iad_1_loss",
    "iad_2_loss",
    "input_curvature",
    "kl_divergence",
    "mart_loss",
    "min_norm_direction",
    "min_norm_weights",
    "mtard_losses",
    "paired_distances",
    "pgd_at_loss",
    "reliability",
    "rslad_loss",
    "score_loss",
    "softened_divergence",
    "squared_distance",
    "temperature",
    "trades_loss",
    "uniform_perturbation",
    "weight_perturbation",
]
