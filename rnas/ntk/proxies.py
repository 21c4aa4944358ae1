"""Training-free scores that kernels are compared with: synflow, gradient norm, Jacobian norm, NASWOT.

Each is a number for a network at initialisation; more is taken to be better. In place of batch statistics the network
uses those of `frozen_statistics`; on the batch that they come from both are the same. `apply` and `variables` are those
of `rnas.ntk.empirical_ntk`.
"""

from collections.abc import Mapping
import functools
import operator
from typing import Any

import flax.traverse_util
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas.attacks import cross_entropy
from rnas.layers import BatchNorm
from rnas.ntk.kernel import Apply, PyTree, split

SCALE = 1e-10  # of synflow's input and of its output: sums over paths outgrow float32 otherwise


def gradient_norm(apply: Apply, variables: PyTree, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns Σ ‖∂L/∂W‖₂ over all kernels W, L the mean cross-entropy (Abdelfattah et al. 2021, arXiv 2101.08134)."""
    params, logits = split(apply, variables)
    gradient = jax.grad(lambda params: cross_entropy(logits(params, images), labels).mean())(params)
    return functools.reduce(operator.add, [jnp.sqrt(jnp.sum(lax.square(leaf))) for leaf in _kernels(gradient).values()])


def jacobian_norm(apply: Apply, variables: PyTree, images: jax.Array) -> jax.Array:
    """Returns the mean over images of ‖∂ logits / ∂ image‖_F, in logits per pixel unit (Hoffman et al. 2019).

    Exact, by one backward pass for each of the K logits (arXiv 1908.02729, equation 3 and appendix).
    """
    params, logits = split(apply, variables)
    found, pull = jax.vjp(lambda images: logits(params, images), images)

    def square(direction):
        (slope,) = pull(jnp.broadcast_to(direction, found.shape))
        return lax.square(slope).reshape(len(images), -1).sum(1)

    return jnp.sqrt(lax.map(square, jnp.eye(found.shape[1], dtype=found.dtype)).sum(0)).mean()


def synflow(apply: Apply, variables: PyTree, inputs: jax.Array) -> jax.Array:
    """Returns log Σ |W ⊙ ∂R/∂W| over all kernels W, R the sum of the logits of the network of absolute weights.

    (Tanaka et al. 2020, arXiv 2006.05467, equation 2; as a score without BatchNorm, Abdelfattah et al. 2021.) The
    logarithm, because sums over paths span forty orders of magnitude; a network through which nothing flows has a
    finite one that is far below all others. The network should not shift its `inputs`, ones [1, ...], and be piecewise
    linear; BatchNorm counts as the identity.
    """
    params, logits = split(apply, jax.tree.map(jnp.abs, _without_normalization(variables)))
    flow = jax.grad(lambda params: SCALE * logits(params, SCALE * inputs).sum())(params)
    flows = _kernels(flow)
    total = functools.reduce(operator.add, [jnp.vdot(kernel, flows[path]) for path, kernel in _kernels(params).items()])
    return jnp.log(jnp.maximum(total, jnp.finfo(total.dtype).tiny)) - 2 * jnp.log(SCALE)


def agreement(activations: jax.Array) -> jax.Array:
    """Returns on how many ReLUs each two examples agree, [N, N], whole numbers.

    A ReLU is on where its entry of `activations` [N, ...], from before or after it, is above 0.
    """
    codes = (activations.reshape(len(activations), -1) > 0).astype(jnp.float32)
    both = jnp.matmul(codes, codes.T, precision=lax.Precision.HIGHEST)
    on = codes.sum(1)
    return codes.shape[1] - on[:, None] - on[None] + 2 * both


def naswot(kernel: np.ndarray) -> float:
    """Returns log |K_H| of the agreements K_H of all ReLUs (Mellor et al. 2021, arXiv 2006.04647, equation 2).

    Float64, on the host. The `kernel` [N, N] sums `agreement` over all layers; that of a network without ReLUs is
    refused. Of a singular one, where two images have the same code, eigenvalues below rounding (N · 2⁻⁵² · λ_max)
    count as that.
    """
    values = np.linalg.eigvalsh(np.asarray(kernel, np.float64))
    if values[-1] <= 0:
        raise ValueError("the network has no ReLU, whose codes NASWOT compares.")
    return np.log(np.maximum(values, len(values) * 2.0**-52 * values[-1])).sum().item()


def _without_normalization(variables: PyTree) -> PyTree:
    """The variables with every BatchNorm an identity."""
    flat = flax.traverse_util.flatten_dict(variables)
    neutral = {"mean": 0.0, "var": 1.0 - BatchNorm.epsilon, "scale": 1.0, "bias": 0.0}

    def normalizes(path):
        return path[0] == "batch_stats" or ("batch_stats", *path[1:-1], "mean") in flat

    return flax.traverse_util.unflatten_dict(
        {path: jnp.full_like(leaf, neutral[path[-1]]) if normalizes(path) else leaf for path, leaf in flat.items()}
    )


def _kernels(tree: Mapping[str, Any]) -> dict[tuple[str, ...], jax.Array]:
    return {path: leaf for path, leaf in flax.traverse_util.flatten_dict(tree).items() if path[-1] == "kernel"}
