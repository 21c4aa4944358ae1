"""Labels of mixed images: the weighted mean of two losses is the loss of the soft label, method by method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.attacks.losses import cross_entropy
from rnas.objectives import METHODS, Logits, MixedLabels, TrainProgress, over_labels
from rnas.objectives.methods import Akd2, Ard, Score, Trades

N, K = 7, 5
RANDOM = np.random.default_rng(0)
LABELS = MixedLabels(
    jnp.array(RANDOM.integers(0, K, N)),
    jnp.array(RANDOM.integers(0, K, N)),
    jnp.array(RANDOM.uniform(size=N), jnp.float32),
)
SOFT = np.asarray(
    LABELS.share[:, None] * jnp.eye(K)[LABELS.first] + (1 - LABELS.share)[:, None] * jnp.eye(K)[LABELS.second]
)
LOGITS = Logits(*(jnp.array(RANDOM.normal(size=(N, K)), jnp.float32) for _ in Logits._fields))
LATE = TrainProgress(epoch=100)


def loss_of(method, labels, logits=LOGITS):
    return method.loss(logits, labels, LATE, method.initial_loss_state())


def slope(value, logits):
    """Gradient of a sum in the student's logits."""
    return jax.grad(lambda own: jnp.sum(value(logits._replace(clean=own[0], adversarial=own[1]))))(
        (logits.clean, logits.adversarial)
    )


def test_plain_labels_pass_through():
    np.testing.assert_array_equal(
        over_labels(lambda labels: cross_entropy(LOGITS.clean, labels), LABELS.first),
        cross_entropy(LOGITS.clean, LABELS.first),
    )


def test_cross_entropy_is_that_of_the_soft_label():
    found = over_labels(lambda labels: cross_entropy(LOGITS.clean, labels), LABELS)
    log_p = np.asarray(LOGITS.clean) - np.log(np.exp(np.asarray(LOGITS.clean)).sum(1, keepdims=True))
    np.testing.assert_allclose(found, -(SOFT * log_p).sum(1), rtol=1e-5)


def divergence(logits):
    p, log_q = jax.nn.softmax(logits.clean), jax.nn.log_softmax(logits.adversarial)
    return jnp.sum(p * (jax.nn.log_softmax(logits.clean) - log_q), 1)


def soft_score(logits):
    soft = 0.9 * SOFT + 0.1 / (K - 1) * (1 - SOFT)
    p, q = jax.nn.softmax(logits.clean), jax.nn.softmax(logits.adversarial)
    return jnp.sum((p - soft) ** 2, 1) + 5 * jnp.sum((q - p) ** 2, 1)


def soft_entropy(logits):
    return -jnp.sum(SOFT * jax.nn.log_softmax(logits), 1)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (METHODS["none"](), lambda logits: soft_entropy(logits.clean)),
        (METHODS["pgd_at"](), lambda logits: soft_entropy(logits.adversarial)),
        (Trades(beta=6.0), lambda logits: soft_entropy(logits.clean) + 6 * divergence(logits)),
        (Score(), soft_score),
    ],
    ids=["none", "pgd_at", "trades", "score"],
)
def test_gradients_are_those_of_the_soft_label(method, expected):
    found = slope(lambda logits: over_labels(lambda labels: loss_of(method, labels, logits), LABELS), LOGITS)
    for own, other in zip(found, slope(expected, LOGITS), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "weight", "which"),
    [
        (Ard(alpha=0.75), 0.25, "clean"),
        (Akd2(robust=0.5, natural=0.25), 0.25, "adversarial"),
        (METHODS["rslad"](), 0.0, "clean"),
        (METHODS["mtard"](), 0.0, "clean"),
    ],
    ids=["ard", "akd2", "rslad", "mtard"],
)
def test_a_distilling_loss_holds_labels_in_its_cross_entropy_alone(method, weight, which):
    entropy = [cross_entropy(getattr(LOGITS, which), labels) for labels in (LABELS.first, LABELS.second)]
    found = loss_of(method, LABELS.first) - loss_of(method, LABELS.second)
    np.testing.assert_allclose(found, weight * (entropy[0] - entropy[1]), atol=1e-5)


def test_methods_that_are_not_linear_in_the_label_say_so():
    assert {name for name, method in METHODS.items() if not method.mixes_labels} == {"mart", "iad_1", "iad_2"}
