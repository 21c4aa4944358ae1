"""Empirical neural tangent kernels, clean and under attack, their scores, and training-free scores beside them."""

from rnas.ntk.activations import activation_kernel
from rnas.ntk.kernel import empirical_ntk
from rnas.ntk.perturbed import Kernels, Mixed, Perturbed, mixed_kernels, perturb, perturbed_kernels
from rnas.ntk.proxies import agreement, gradient_norm, jacobian_norm, naswot, synflow
from rnas.ntk.scores import Scores, ntk_scores
from rnas.ntk.statistics import frozen_statistics

__all__ = [
    "Kernels",
    "Mixed",
    "Perturbed",
    "Scores",
    "activation_kernel",
    "agreement",
    "empirical_ntk",
    "frozen_statistics",
    "gradient_norm",
    "jacobian_norm",
    "mixed_kernels",
    "naswot",
    "ntk_scores",
    "perturb",
    "perturbed_kernels",
    "synflow",
]
