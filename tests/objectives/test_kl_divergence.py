"""KL(teacher‖student): order of arguments, zero, extremes, gradients."""

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from rnas.objectives import kl_divergence

divergence = jax.jit(kl_divergence)


def logits(seed, count=6, classes=7, scale=2.0):
    return (scale * np.random.default_rng(seed).normal(size=(count, classes))).astype(np.float32)


def softmax(z):
    z = z.astype(np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_equals_the_sum_teacher_first(classes):
    teacher, student = logits(0, classes=classes), logits(1, classes=classes)
    p, q = softmax(teacher), softmax(student)
    expected = np.sum(p * np.log(p / q), axis=1)
    np.testing.assert_allclose(divergence(jnp.asarray(teacher), jnp.asarray(student)), expected, rtol=1e-5)
    assert np.abs(expected - np.sum(q * np.log(q / p), axis=1)).max() > 0.1


def test_zero_only_where_logits_agree_up_to_a_shift():
    teacher = jnp.asarray(logits(2))
    np.testing.assert_array_equal(kl_divergence(teacher, teacher), 0.0)
    shifts = jnp.array([[-30.0], [-1.0], [0.5], [3.0], [20.0], [50.0]])
    np.testing.assert_allclose(divergence(teacher, teacher + shifts), 0.0, atol=2e-5)
    # One logit moved by δ: the closed form is log(1 + p_0·(e^δ - 1)) - p_0·δ.
    p = softmax(np.asarray(teacher))[:, 0]
    expected = np.log1p(p * np.expm1(0.3)) - p * 0.3
    moved = kl_divergence(teacher, teacher.at[:, 0].add(0.3))
    np.testing.assert_allclose(moved, expected, rtol=2e-3, atol=1e-6)


def test_stable_at_extreme_logits():
    teacher = jnp.array([[80.0, -80.0, 0.0], [80.0, -80.0, 0.0], [80.0, 80.0, -80.0]])
    student = jnp.array([[-80.0, 80.0, 0.0], [80.0, -80.0, 0.0], [80.0, -80.0, 80.0]])
    values = divergence(teacher, student)
    # Row 0 picks the class of log-probability -160; row 2 halves of log 1/2 against log 1/2 and -160 - log 2.
    np.testing.assert_allclose(values, [160.0, 0.0, 80.0], rtol=1e-6, atol=1e-6)
    for argument in (0, 1):
        gradient = jax.grad(lambda *z: kl_divergence(*z).sum(), argument)(teacher, student)
        assert np.all(np.isfinite(gradient))


def test_impossible_classes_add_nothing():
    teacher = jnp.array([[0.0, 1.0, -jnp.inf]])
    full = kl_divergence(teacher, jnp.array([[0.5, 0.0, -jnp.inf]]))
    np.testing.assert_allclose(full, kl_divergence(teacher[:, :2], jnp.array([[0.5, 0.0]])), rtol=1e-6)


def test_gradients_of_both_arguments(float64):
    teacher, student = (jnp.asarray(logits(seed), float) for seed in (3, 4))
    check_grads(divergence, (teacher, student), order=1, rtol=1e-6)
    p, q = softmax(np.asarray(teacher)), softmax(np.asarray(student))
    gap = np.log(p / q)
    to_teacher, to_student = jax.grad(lambda *z: kl_divergence(*z).sum(), (0, 1))(teacher, student)
    np.testing.assert_allclose(to_teacher, p * (gap - np.sum(p * gap, axis=1, keepdims=True)), atol=1e-12)
    np.testing.assert_allclose(to_student, q - p, atol=1e-12)
