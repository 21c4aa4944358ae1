"""Objectives as pure functions: arrays in, one number per example out, nothing reduced over the batch."""

from rnas.objectives.adversarial import cross_entropy, mart_loss, pgd_at_loss, rslad_loss, trades_loss
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
from rnas.objectives.distillation import kl_divergence
from rnas.objectives.min_norm import min_norm_direction, min_norm_weights
from rnas.objectives.perturbation import adversarial_perturbation, uniform_perturbation
from rnas.objectives.selector import choose, gumbel_softmax, temperature

__all__ = [
    "adversarial_perturbation",
    "attention_distances",
    "attention_energies",
    "attention_map",
    "attention_maps",
    "budget_penalty",
    "choose",
    "cost_factor",
    "cross_entropy",
    "cross_layer_loss",
    "gumbel_softmax",
    "input_curvature",
    "kl_divergence",
    "mart_loss",
    "min_norm_direction",
    "min_norm_weights",
    "paired_distances",
    "pgd_at_loss",
    "rslad_loss",
    "temperature",
    "trades_loss",
    "uniform_perturbation",
]
