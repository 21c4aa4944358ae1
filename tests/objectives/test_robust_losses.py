"""Losses of robust training against NumPy formulas, and which arguments their gradients reach."""

import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from rnas.objectives import METHODS, Logits, TrainProgress, cross_entropy

LABELS = np.array([0, 6, 3, 3, 1])
ROWS = np.arange(5)


def loss_of(method, clean=None, adversarial=None, teacher=None, labels=LABELS, **coefficients):
    """The loss of a method with these coefficients."""
    return METHODS[method](**coefficients).loss(Logits(clean, adversarial, teacher), labels, TrainProgress(), None)


def logits(seed, scale=1.5):
    return (scale * np.random.default_rng(seed).normal(size=(5, 7))).astype(np.float32)


def softmax(z):
    e = np.exp(z.astype(np.float64))
    return e / e.sum(axis=1, keepdims=True)


def divergence(p, q):
    return np.sum(p * (np.log(p) - np.log(q)), axis=1)


CLEAN, ADVERSARIAL, TEACHER = logits(0), logits(1), logits(2)
ADVERSARIAL[ROWS[:2], LABELS[:2]] += 4.0  # two of the attacks fail
P, Q, T = softmax(CLEAN), softmax(ADVERSARIAL), softmax(TEACHER)
RIVAL = np.array([max(q[c] for c in range(7) if c != y) for q, y in zip(Q, LABELS, strict=True)])
P_Y, Q_Y = P[ROWS, LABELS], Q[ROWS, LABELS]

# name: (method, coefficients, expected value)
CASES = {
    "pgd_at": ("pgd_at", {}, -np.log(Q_Y)),
    "trades": ("trades", {}, -np.log(P_Y) + 6 * divergence(P, Q)),
    "trades_beta": ("trades", {"beta": 0.5}, -np.log(P_Y) + 0.5 * divergence(P, Q)),
    "mart": ("mart", {}, -np.log(Q_Y) - np.log(1.0001 - RIVAL) + 6 * divergence(P, Q) * (1 - P_Y)),
    "mart_beta": ("mart", {"beta": 0.5}, -np.log(Q_Y) - np.log(1.0001 - RIVAL) + 0.5 * divergence(P, Q) * (1 - P_Y)),
    "rslad": ("rslad", {"kl_scale": 1.0}, 5 / 6 * divergence(T, Q) + 1 / 6 * divergence(T, P)),
    "rslad_scaled": ("rslad", {"kl_scale": 1 / 7}, (5 / 6 * divergence(T, Q) + 1 / 6 * divergence(T, P)) / 7),
}
# name: (loss of clean, adversarial and teacher logits and labels; expected value)
LOSSES = {
    "cross_entropy": (lambda clean, adversarial, teacher, labels: cross_entropy(clean, labels), -np.log(P_Y)),
    **{
        name: (functools.partial(loss_of, method, **coefficients), expected)
        for name, (method, coefficients, expected) in CASES.items()
    },
}


def gradients(loss, *arguments):
    """Gradients of the summed loss in the clean, adversarial and teacher logits."""
    return jax.jit(jax.grad(lambda *z: loss(*z, LABELS).sum(), (0, 1, 2)))(*arguments)


@pytest.mark.parametrize("name", LOSSES)
def test_value_per_example(name):
    loss, expected = jax.jit(LOSSES[name][0]), LOSSES[name][1]
    values = loss(*map(jnp.asarray, (CLEAN, ADVERSARIAL, TEACHER, LABELS)))
    np.testing.assert_allclose(values, expected, rtol=2e-5)
    # No example sees its neighbours.
    alone = loss(*(jnp.asarray(a[2:3]) for a in (CLEAN, ADVERSARIAL, TEACHER, LABELS)))
    np.testing.assert_allclose(alone, expected[2:3], rtol=2e-5)


def test_gradients_equal_finite_differences(float64):
    @jax.jit
    def losses(clean, adversarial):
        return [LOSSES[name][0](clean, adversarial, None, LABELS) for name in ("pgd_at", "trades", "mart")]

    check_grads(losses, tuple(jnp.asarray(z, float) for z in (CLEAN, ADVERSARIAL)), order=1, rtol=1e-6)


def test_trades_gradient_flows_through_both_arguments(float64):
    to_clean, to_adversarial, _ = gradients(
        LOSSES["trades"][0], *(jnp.asarray(z, float) for z in (CLEAN, ADVERSARIAL, TEACHER))
    )
    gap = np.log(P / Q)
    expected = P - np.eye(7)[LABELS] + 6 * P * (gap - np.sum(P * gap, axis=1, keepdims=True))
    np.testing.assert_allclose(to_clean, expected, atol=1e-6)
    np.testing.assert_allclose(to_adversarial, 6 * (Q - P), atol=1e-6)


def test_trades_without_perturbation_is_cross_entropy():
    clean = jnp.asarray(CLEAN)
    np.testing.assert_array_equal(loss_of("trades", clean, clean), cross_entropy(clean, LABELS))
    total = jax.jit(jax.grad(lambda z: loss_of("trades", z, z).sum()))(clean)
    np.testing.assert_allclose(total, P - np.eye(7)[LABELS], atol=1e-5)


def test_rslad_trains_the_student_and_not_the_teacher():
    to_clean, to_adversarial, to_teacher = gradients(
        LOSSES["rslad"][0], *map(jnp.asarray, (CLEAN, ADVERSARIAL, TEACHER))
    )
    np.testing.assert_array_equal(to_teacher, 0.0)
    np.testing.assert_allclose(to_clean, (P - T) / 6, atol=1e-6)
    np.testing.assert_allclose(to_adversarial, 5 * (Q - T) / 6, atol=1e-6)


def test_rslad_is_zero_for_a_student_that_equals_its_teacher():
    teacher = jnp.asarray(TEACHER)
    np.testing.assert_allclose(loss_of("rslad", teacher - 3.0, teacher + 1.0, teacher), 0.0, atol=2e-6)
    np.testing.assert_array_equal(loss_of("rslad", teacher, teacher, teacher), 0.0)


@pytest.mark.parametrize("name", ["cross_entropy", "pgd_at", "trades", "mart", "rslad"])
def test_values_and_gradients_are_finite_at_extreme_logits(name):
    corners = np.where(np.random.default_rng(3).random((3, 5, 7)) < 0.5, -80.0, 80.0).astype(np.float32)
    corners[0, :2], corners[1, :2] = -80.0, -80.0
    corners[0, ROWS[:2], LABELS[:2]] = 80.0  # certain and right ...
    corners[1, 0, 5] = 80.0  # ... then certain and wrong,
    corners[1, 1, LABELS[1]] = 80.0  # ... and certain and right still
    arguments = tuple(map(jnp.asarray, corners))
    values = LOSSES[name][0](*arguments, LABELS)
    assert np.all(np.isfinite(values)) and np.all(values >= -1.1e-4)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients(LOSSES[name][0], *arguments))


def test_mart_weighs_by_the_doubt_about_the_clean_image():
    """Certain and right on the clean image: the divergence, about 160, counts by 1 - p_y = 2e-9 only."""
    clean, adversarial = jnp.array([[20.0, 0.0]]), jnp.array([[-80.0, 80.0]])
    boosted = 160.0 - np.log(1e-4)
    np.testing.assert_allclose(loss_of("mart", clean, adversarial, labels=jnp.array([0])), boosted, rtol=2e-4)
    # Uncertain: KL = log 1/2 + 80, weighed by a half.
    clean = jnp.zeros((1, 2))
    expected = boosted + 6 * 0.5 * (80.0 - np.log(2))
    np.testing.assert_allclose(loss_of("mart", clean, adversarial, labels=jnp.array([0])), expected, rtol=2e-4)
