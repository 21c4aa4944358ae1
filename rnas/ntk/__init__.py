"""Empirical neural tangent kernels, clean and under attack, their scores, and training-free scores beside them."""

from rnas.ntk.kernel import empirical_ntk, frozen_statistics
from rnas.ntk.measurement import activation_kernel
from rnas.ntk.perturbed import Kernels, Mixed, Perturbed, mixed_kernels, perturb, perturbed_kernels
from rnas.ntk.proxies import agreement, gradient_norm, jacobian_norm, naswot, synflow
from rnas.ntk.scores import Scores, ntk_scores
