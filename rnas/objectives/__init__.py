"""Objectives as pure functions: arrays in, one number per example out, nothing reduced over the batch.

Only the loss state of a method is a mean over the batch, see `methods`.
"""

from rnas.attacks.losses import cross_entropy
from rnas.objectives.attention import (
    attention_distances,
    attention_energies,
    attention_map,
    attention_maps,
    cross_layer_loss,
    paired_distances,
)
from rnas.objectives.bilevel import SECOND_ORDER, LookAhead, architecture_gradients
from rnas.objectives.cost import SearchCost, budget_penalty, cost_factor
from rnas.objectives.curvature import input_curvature
from rnas.objectives.divergences import kl_divergence, softened_divergence, squared_distance
from rnas.objectives.inner_maximisation import adversarial_images
from rnas.objectives.joint_objective import ArmTerms, Objective
from rnas.objectives.joint_terms import Batch, joint_terms
from rnas.objectives.methods import METHODS, Logits, Method, TrainProgress, register
from rnas.objectives.min_norm import min_norm_direction, min_norm_weights
from rnas.objectives.mixed_labels import Labels, MixedLabels, over_labels
from rnas.objectives.network import Network
from rnas.objectives.probability_perturbation import adversarial_perturbation, uniform_perturbation
from rnas.objectives.schedules import Alternation, Curvature, ProbabilityPerturbation, Sampling
from rnas.objectives.search_methods import SEARCH_METHODS, SearchMethod
from rnas.objectives.selector import choose, gumbel_softmax, temperature
from rnas.objectives.teacher_outputs import TeacherApply, TeacherOutputs, run_teacher, run_teachers_on_adversarial
from rnas.objectives.tutors import FixedTutors, IndexedTutors, SampledTutors, index_tutors, soft_tutor_loss
from rnas.objectives.weight_perturbation import weight_perturbation

__all__ = [
    "METHODS",
    "SEARCH_METHODS",
    "SECOND_ORDER",
    "Alternation",
    "ArmTerms",
    "Batch",
    "Curvature",
    "FixedTutors",
    "IndexedTutors",
    "Labels",
    "Logits",
    "LookAhead",
    "Method",
    "MixedLabels",
    "Network",
    "Objective",
    "ProbabilityPerturbation",
    "SampledTutors",
    "Sampling",
    "SearchCost",
    "SearchMethod",
    "TeacherApply",
    "TeacherOutputs",
    "TrainProgress",
    "adversarial_images",
    "adversarial_perturbation",
    "architecture_gradients",
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
    "index_tutors",
    "input_curvature",
    "joint_terms",
    "kl_divergence",
    "min_norm_direction",
    "min_norm_weights",
    "over_labels",
    "paired_distances",
    "register",
    "run_teacher",
    "run_teachers_on_adversarial",
    "soft_tutor_loss",
    "softened_divergence",
    "squared_distance",
    "temperature",
    "uniform_perturbation",
    "weight_perturbation",
]
