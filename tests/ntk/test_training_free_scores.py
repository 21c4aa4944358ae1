"""Training-free scores against NumPy on networks whose gradients can be written down."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import BatchNorm
from rnas.ntk import agreement, gradient_norm, jacobian_norm, naswot, synflow


class _Linear(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


@pytest.fixture(scope="module")
def linear():
    x = jax.random.normal(jax.random.key(0), (4, 5))
    return _Linear().apply, _Linear().init(jax.random.key(1), x), x


def test_gradient_norm_of_a_linear_model(linear):
    """∂L/∂W = Xᵀ (p - y) / N; the bias does not count."""
    apply, variables, x = linear
    labels = np.array([0, 2, 1, 1])
    logits = np.asarray(apply(variables, x), np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.linalg.norm(np.asarray(x).T @ (shares - np.eye(3)[labels]) / 4)
    assert gradient_norm(apply, variables, x, jnp.asarray(labels)) == pytest.approx(expected, rel=1e-5)


def test_gradient_norms_of_kernels_add_up(small_network):
    apply, variables, images, labels = small_network
    gradient = jax.grad(
        lambda params: (
            -jnp.take_along_axis(
                jax.nn.log_softmax(apply({**variables, "params": params}, images)[0]), labels[:, None], 1
            ).mean()
        )
    )(variables["params"])
    norms = [
        np.linalg.norm(np.asarray(leaf).ravel())
        for path, leaf in jax.tree.leaves_with_path(gradient)
        if "'kernel'" in jax.tree_util.keystr(path)
    ]
    assert len(norms) == 3
    found = jax.jit(gradient_norm, static_argnums=0)(apply, variables, images, labels)
    assert found == pytest.approx(sum(norms), rel=1e-5)


def test_jacobian_norm(linear, small_network):
    apply, variables, x = linear
    weight = np.linalg.norm(variables["params"]["Dense_0"]["kernel"])
    assert jacobian_norm(apply, variables, x) == pytest.approx(weight, rel=1e-5)
    apply, variables, images, _ = small_network
    each = jax.jit(jax.vmap(jax.jacrev(lambda image: apply(variables, image[None])[0][0])))(images)
    expected = np.mean([np.linalg.norm(np.asarray(one).ravel()) for one in each])
    found = jax.jit(jacobian_norm, static_argnums=0)(apply, variables, images)
    assert found == pytest.approx(expected, rel=1e-5)


class _Chain(nn.Module):
    """Three layers and a normalisation; only what it learned keeps it from being linear."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(6, use_bias=False)(x))
        x = nn.relu(BatchNorm()(nn.Dense(5, use_bias=False)(x), train=False))
        return nn.Dense(3, use_bias=False)(x)


def test_synflow_of_a_chain_is_layers_times_flow():
    """By Euler's theorem each of L layers has Σ |W ⊙ ∂R/∂W| = R = 1ᵀ |W_1| … |W_L| 1."""
    ones = jnp.ones((1, 4))
    variables = _Chain().init(jax.random.key(0), ones)
    flow = jax.jit(lambda variables: synflow(_Chain().apply, variables, ones))
    kernels = [np.abs(np.asarray(variables["params"][f"Dense_{i}"]["kernel"], np.float64)) for i in range(3)]
    expected = np.log(3 * np.linalg.multi_dot(kernels).sum())
    assert flow(variables) == pytest.approx(expected, abs=1e-4)
    # Whatever the normalisation has learned.
    variables["batch_stats"] = jax.tree.map(lambda leaf: leaf + 0.7, variables["batch_stats"])
    variables["params"]["BatchNorm_0"] = {"scale": jnp.full(5, -2.0), "bias": jnp.full(5, 3.0)}
    assert flow(variables) == pytest.approx(expected, abs=1e-4)
    # Flows beyond float32, and none at all.
    params = variables["params"]
    params["Dense_0"]["kernel"] *= 1e20
    params["Dense_2"]["kernel"] *= 1e19
    assert flow(variables) == pytest.approx(expected + 39 * np.log(10), abs=1e-4)
    params["Dense_1"]["kernel"] *= 0
    assert np.isfinite(flow(variables)) and flow(variables) < -40


def test_agreement_counts_equal_signs():
    codes = np.random.default_rng(0).integers(0, 2, (5, 3, 4))
    flat = codes.reshape(5, -1)
    expected = [[(one == other).sum() for other in flat] for one in flat]
    np.testing.assert_array_equal(agreement(jnp.asarray(2.0 * codes - 1)), expected)
    np.testing.assert_array_equal(agreement(jnp.asarray(0.3 * codes)), expected)  # after the ReLU
    assert naswot(expected) == pytest.approx(np.linalg.slogdet(np.array(expected, float))[1])


def test_naswot_where_codes_are_equal():
    assert np.isfinite(naswot(np.full((4, 4), 7.0)))
    assert naswot(np.full((4, 4), 7.0)) < naswot(np.full((4, 4), 7.0) + np.eye(4))
    with pytest.raises(ValueError, match="no ReLU"):
        naswot(np.zeros((4, 4)))
