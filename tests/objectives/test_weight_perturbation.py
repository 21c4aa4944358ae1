"""Adversarial weight perturbation: its length, its direction, and what it leaves alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnas.objectives import weight_perturbation

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


PARAMS, GRADIENTS = (
    {
        "conv": {"kernel": scale * normal(3, 3, 2, 4), "bias": scale * normal(4)},
        "bn": {"scale": scale * normal(4)},
        "dense": {"kernel": scale * normal(4, 5)},
    }
    for scale in (1.0, 1e-3)
)


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_it_is_where_a_step_of_sgd_on_a_copy_leads_scaled(rate):
    """The published procedure, whatever the copy's rate: δ = γ·‖θ‖/(‖ν - θ‖ + 1e-20)·(ν - θ)."""
    found = weight_perturbation(PARAMS, GRADIENTS, 0.005)
    for layer in ("conv", "dense"):
        kernel, gradient = (tree[layer]["kernel"].astype(float) for tree in (PARAMS, GRADIENTS))
        step = rate * gradient  # upwards
        expected = 0.005 * np.sqrt((kernel**2).sum()) / (np.sqrt((step**2).sum()) + 1e-20) * step
        np.testing.assert_allclose(found[layer]["kernel"], expected, rtol=1e-5)
        assert np.sum(found[layer]["kernel"] * gradient) > 0
    np.testing.assert_array_equal(found["conv"]["bias"], 0.0)
    np.testing.assert_array_equal(found["bn"]["scale"], 0.0)


def test_every_kernel_moves_by_its_own_share():
    found = weight_perturbation(PARAMS, GRADIENTS, 0.01)
    for layer in ("conv", "dense"):
        ratio = np.linalg.norm(found[layer]["kernel"].ravel()) / np.linalg.norm(PARAMS[layer]["kernel"].ravel())
        np.testing.assert_allclose(ratio, 0.01, rtol=1e-5)


def test_without_gradient_or_size_nothing_moves():
    kernel = {"kernel": jnp.ones((2, 2))}
    for moved in (
        weight_perturbation(kernel, {"kernel": jnp.zeros((2, 2))}, 0.01),
        weight_perturbation({"kernel": jnp.zeros((2, 2))}, kernel, 0.01),
        weight_perturbation(kernel, kernel, 0.0),
    ):
        np.testing.assert_array_equal(moved["kernel"], 0.0)
