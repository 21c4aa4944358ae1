"""The selector: its gradient, its temperature, its distribution, and that descent finds the right tutor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.objectives import attention_distances, choose, cross_layer_loss, gumbel_softmax, temperature


def unit_maps(seed, *shape):
    maps = np.abs(np.random.default_rng(seed).normal(size=shape))
    return jnp.asarray(maps / np.linalg.norm(maps, axis=-1, keepdims=True))


def selector_loss(logits, distances, key, tau, hard=False):
    return jnp.mean(cross_layer_loss(distances, gumbel_softmax(key, logits, tau, hard)))


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("tau", [5.0, 0.3])
def test_gradient_equals_the_closed_form(float64, tau, hard):
    student, teacher = unit_maps(0, 3, 4, 9), unit_maps(1, 3, 5, 9)
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(4, 5)))
    key = jax.random.key(3)
    gradient = jax.jit(jax.grad(selector_loss), static_argnums=4)(
        logits, attention_distances(student, teacher), key, tau, hard
    )
    g = np.asarray(gumbel_softmax(key, logits, tau))
    squares = (np.asarray(student)[:, :, None] - np.asarray(teacher)[:, None]) ** 2
    mean = squares.sum(-1).mean(0)
    expected = g * (mean - (g * mean).sum(1, keepdims=True)) / tau
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-15)

    rows = np.arange(4)
    assert np.all(expected[rows, mean.argmin(1)] < 0) and np.abs(expected).max() > 1e-3


def test_descent_finds_the_teacher_layer_that_agrees():
    baselines = np.array([3, 0, 5])
    teacher = unit_maps(4, 2, 6, 16)
    distances = attention_distances(teacher[:, baselines], teacher)

    @jax.jit
    def descend(logits):
        def step(index, logits):
            key = jax.random.fold_in(jax.random.key(5), index)
            return logits - 30.0 * jax.grad(selector_loss)(logits, distances, key, temperature(index, 5.0, 0.045, 0.0))

        return jax.lax.fori_loop(0, 20, step, logits)

    found = descend(jnp.zeros((3, 6)))
    np.testing.assert_array_equal(choose(found), baselines)
    assert np.all(np.max(jax.nn.softmax(found), axis=1) > 0.5)


def test_one_norm_over_all_teacher_layers_would_train_no_selector(float64):
    """The published code of 2023 weighs a norm that is the same for every teacher layer."""
    student, teacher = unit_maps(6, 3, 4, 9), unit_maps(7, 3, 5, 9)

    def published(logits):
        g = gumbel_softmax(jax.random.key(8), logits, 1.0)
        gaps = teacher[:, None] - student[:, :, None]
        norms = jnp.sqrt(jnp.sum(jnp.square(gaps), axis=(0, 2, 3)))
        return jnp.sum(jnp.mean(norms[:, None] * g, axis=1))

    logits = jnp.asarray(np.random.default_rng(9).normal(size=(4, 5)))
    assert np.abs(jax.grad(published)(logits)).max() < 1e-14
    ours = jax.grad(selector_loss)(logits, attention_distances(student, teacher), jax.random.key(8), 1.0)
    assert np.abs(ours).max() > 1e-3


@pytest.mark.parametrize(
    "epoch, expected, half_digit",
    [(0, 5.0, 0.05), (50, 0.527, 5e-4), (99, 0.0581, 5e-5), (160, 0.00373, 5e-6), (200, 0.00062, 5e-6)],
)
def test_temperature_falls_over_the_epochs(epoch, expected, half_digit):
    tau = temperature(epoch, 5.0, 0.045, 0.0)
    assert abs(float(tau) - expected) <= half_digit
    traced = jax.jit(temperature)(jnp.int32(epoch), 5.0, 0.045, 0.0)
    np.testing.assert_allclose(traced, tau, rtol=1e-6)


def test_temperature_has_a_floor():
    assert float(temperature(200, 5.0, 0.045, 0.1)) == pytest.approx(0.1)
    assert float(temperature(0, 5.0, 0.045, 0.1)) == pytest.approx(5.0)


@pytest.mark.parametrize("tau", [5.0, 0.0006])
def test_hard_samples_are_one_hot_where_the_soft_ones_peak(tau):
    logits = jnp.asarray(np.random.default_rng(10).normal(size=(50, 6)), jnp.float32)
    key = jax.random.key(11)
    soft = gumbel_softmax(key, logits, tau)
    hard = jax.jit(gumbel_softmax, static_argnames="hard")(key, logits, tau, hard=True)
    np.testing.assert_array_equal(hard, np.eye(6)[np.argmax(soft, axis=1)])
    np.testing.assert_allclose(np.sum(soft, axis=1), 1, rtol=1e-5)
    assert len(np.unique(np.argmax(soft, axis=1))) > 1

    def weighted(logits, hard):
        return jnp.sum(gumbel_softmax(key, logits, tau, hard) * jnp.arange(6.0)[None])

    gradients = [jax.jit(jax.grad(weighted), static_argnums=1)(logits, hard) for hard in (False, True)]
    assert np.all(np.isfinite(gradients[0]))
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-6)


@pytest.mark.parametrize("logits", [np.zeros(7), np.log([1, 2, 3, 4, 5, 6, 7])])
@pytest.mark.parametrize("tau", [5.0, 0.05])
def test_choices_are_distributed_as_the_softmax_of_the_logits(logits, tau):
    draws = 20_000
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (draws, 7))
    counts = np.sum(np.asarray(gumbel_softmax(jax.random.key(12), rows, tau, hard=True), np.float64), axis=0)
    expected = draws * np.exp(logits) / np.exp(logits).sum()
    # 99.9 % quantile of chi-square with six degrees of freedom.
    assert np.sum((counts - expected) ** 2 / expected) < 22.46


def test_a_sample_is_a_function_of_its_key():
    logits = jnp.zeros((2, 8))
    first, again, other = (gumbel_softmax(jax.random.key(seed), logits, 1.0) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first[0] - first[1]).max() > 0.01


def test_ties_go_to_the_lowest_index():
    np.testing.assert_array_equal(choose(jnp.array([[0.0, 0.0, 0.0], [1.0, 2.0, 2.0]])), [0, 1])
