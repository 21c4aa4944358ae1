"""Objectives as pure functions: arrays in, one number per example out, nothing reduced over the batch."""

from rnas.objectives.adversarial import cross_entropy, mart_loss, pgd_at_loss, rslad_loss, trades_loss
from rnas.objectives.attention import (
    attention_distances,
    attention_map,
    attention_maps,
    cross_layer_loss,
    paired_distances,
)
from rnas.objectives.cost import budget_penalty, cost_factor
from rnas.objectives.distillation import kl_divergence
from rnas.objectives.selector import choose, gumbel_softmax, temperature

__all__ = [
    "attention_distances",
    "attention_map",
    "attention_maps",
    "budget_penalty",
    "choose",
    "cost_factor",
    "cross_entropy",
    "cross_layer_loss",
    "gumbel_softmax",
    "kl_divergence",
    "mart_loss",
    "paired_distances",
    "pgd_at_loss",
    "rslad_loss",
    "temperature",
    "trades_loss",
]
