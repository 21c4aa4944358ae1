"""Kernels under attack: which images they pair, their mixtures, and what holds at radius 0 and at the ends of β."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.attacks import cross_entropy
from rnas.ntk import Kernels, empirical_ntk, mixed_kernels, perturb, perturbed_kernels
from rnas.ntk.perturbed import blocks

EPSILON = 8 / 255


def attack(apply, variables, images, labels, epsilon):
    return perturb(lambda x: apply(variables, x)[0], images, labels, epsilon=epsilon, key=jax.random.key(3))


@pytest.fixture(scope="module")
def attacked(small_network):
    apply, variables, images, labels = small_network
    return jax.jit(attack, static_argnums=0)(apply, variables, images, labels, EPSILON)


@pytest.fixture(scope="module")
def kernels(small_network, attacked):
    apply, variables, images, _ = small_network
    return jax.jit(perturbed_kernels, static_argnums=0)(apply, variables, images, attacked)


def test_the_second_attack_has_a_ball_of_its_own(small_network, attacked):
    apply, variables, images, labels = small_network
    for start, end in ((images, attacked.once), (attacked.once, attacked.twice)):
        assert jnp.abs(end - start).max() == pytest.approx(EPSILON, abs=1e-6)
        assert end.min() >= 0 and end.max() <= 1
    assert jnp.abs(attacked.twice - images).max() > 1.2 * EPSILON

    natural, once, twice = jax.jit(lambda sets: [cross_entropy(apply(variables, x)[0], labels) for x in sets])(
        (images, *attacked)
    )
    assert (natural < once).all() and (once < twice).all()


def test_kernels_pair_what_they_say(small_network, attacked, kernels, jacobian):
    apply, variables, images, _ = small_network
    clean, once, twice = (jacobian(apply, variables, x).sum(1) for x in (images, *attacked))
    expected = Kernels(clean @ clean.T, clean @ once.T, once @ once.T, once @ twice.T, twice @ twice.T)
    for name, ours, theirs in zip(Kernels._fields, kernels, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_mixtures_are_gram_matrices_of_mixed_gradients(small_network, attacked, kernels, jacobian, beta):
    apply, variables, images, _ = small_network
    clean, once, twice = (jacobian(apply, variables, x).sum(1) for x in (images, *attacked))
    mixed = mixed_kernels(kernels, beta)
    for ours, first, last in ((mixed.clean, clean, once), (mixed.robust, once, twice)):
        gradient = (1 - beta) * first + beta * last
        np.testing.assert_allclose(ours, gradient @ gradient.T, atol=1e-5 * np.abs(ours).max())
        np.testing.assert_allclose(ours, ours.T, atol=1e-6 * np.abs(ours).max())


def test_the_ends_of_the_mixtures(kernels):
    natural, adversarial = mixed_kernels(kernels, 0.0), mixed_kernels(kernels, 1.0)
    np.testing.assert_array_equal(natural.clean, kernels.clean)
    np.testing.assert_array_equal(natural.robust, kernels.robust)
    np.testing.assert_array_equal(adversarial.clean, kernels.robust)
    np.testing.assert_array_equal(adversarial.robust, kernels.twice)
    traced = jax.jit(mixed_kernels)(kernels, jnp.float32(0.3))
    np.testing.assert_allclose(traced.clean, mixed_kernels(kernels, 0.3).clean, rtol=1e-6)


def test_all_kernels_are_one_at_radius_0(small_network):
    apply, variables, images, labels = small_network
    still = jax.jit(attack, static_argnums=0)(apply, variables, images, labels, 0.0)
    for points in still:
        np.testing.assert_array_equal(points, images)
    kernels = jax.jit(perturbed_kernels, static_argnums=0)(apply, variables, images, still)
    for kernel in kernels:
        np.testing.assert_array_equal(kernel, kernels.clean)
    clean = jax.jit(empirical_ntk, static_argnums=0)(apply, variables, images)
    np.testing.assert_allclose(kernels.clean, clean, rtol=1e-5)


def test_kernels_of_several_radii_are_cut_from_one():
    size = 2
    whole = np.arange(5)[:, None] * 10 + np.arange(5)  # entry 10 i + j pairs set i with set j
    whole = np.kron(whole, np.ones((size, size)))
    found = [[kernel[0, 0] for kernel in blocks(whole, size, place)] for place in (0, 1)]
    assert found == [[0, 1, 11, 12, 22], [0, 3, 33, 34, 44]]


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_beta_is_a_share(kernels, beta):
    with pytest.raises(ValueError, match="beta=.*expected 0"):
        mixed_kernels(kernels, beta)


def test_an_attack_has_steps(small_network):
    apply, variables, images, labels = small_network
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1"):
        perturb(lambda x: apply(variables, x)[0], images, labels, epsilon=0.1, key=jax.random.key(0), steps=0)
