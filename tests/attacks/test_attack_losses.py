"""Losses that attacks maximise, against plain NumPy and recorded values of another implementation."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.attacks import cross_entropy, dlr, dlr_targeted, kl_to, margin

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (40, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, 40).astype(np.int32)
TARGETS = ((LABELS + RNG.integers(1, 6, 40)) % 6).astype(np.int32)


def expected(name, z, y, t):
    """One row, float64, straight from the definitions."""
    ranked = np.sort(z)[::-1]
    rival = max(value for i, value in enumerate(z) if i != y)
    return {
        "ce": np.log(np.exp(z - z.max()).sum()) + z.max() - z[y],
        "margin": rival - z[y],
        "dlr": -(z[y] - rival) / (ranked[0] - ranked[2]),
        "dlr_targeted": -(z[y] - z[t]) / (ranked[0] - 0.5 * (ranked[2] + ranked[3])),
    }[name]


LOSSES = {
    "ce": lambda z: cross_entropy(z, LABELS),
    "margin": lambda z: margin(z, LABELS),
    "dlr": lambda z: dlr(z, LABELS),
    "dlr_targeted": lambda z: dlr_targeted(z, LABELS, TARGETS),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients(name):
    rows = [np.asarray(row, np.float64) for row in LOGITS]

    def want(z, n):
        return expected(name, z, LABELS[n], TARGETS[n])

    values = [want(z, n) for n, z in enumerate(rows)]
    np.testing.assert_allclose(LOSSES[name](LOGITS), values, rtol=2e-5, atol=1e-5)
    slopes = [[(want(z + step, n) - want(z - step, n)) / 2e-6 for step in 1e-6 * np.eye(6)] for n, z in enumerate(rows)]
    gradient = jax.grad(lambda z: LOSSES[name](z).sum())(LOGITS)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("lead", [20.0, 40.0, 70.0])
def test_cross_entropy_of_a_certain_model(lead):
    """log(1 + 2 exp(-lead)), where log-softmax in float32 gives a loss and a label gradient of 0."""
    logits = jnp.array([[lead, 0.0, 0.0]])
    value, gradient = jax.value_and_grad(lambda z: cross_entropy(z, jnp.array([0]))[0])(logits)
    np.testing.assert_allclose(value, 2 * np.exp(-lead), rtol=1e-4)
    np.testing.assert_allclose(gradient[0], np.exp(-lead) * np.array([-2, 1, 1]), rtol=1e-4)


def test_cross_entropy_far_beyond_float_range():
    logits = jnp.array([[1e4, 0.0], [0.0, 1e4], [-jnp.inf, 3.0]])
    np.testing.assert_allclose(cross_entropy(logits, jnp.array([0, 0, 1])), [0, 1e4, 0])


def test_margin_sign_is_misclassification():
    wrong = LOGITS.argmax(1) != LABELS
    np.testing.assert_array_equal(np.asarray(margin(LOGITS, LABELS)) > 0, wrong)
    np.testing.assert_array_equal(np.asarray(dlr(LOGITS, LABELS)) > 0, wrong)


def test_tied_rivals_do_not_cancel():
    gradient = jax.grad(lambda z: margin(z, jnp.array([0]))[0])(jnp.array([[2.0, 1.0, 1.0]]))
    np.testing.assert_array_equal(gradient, [[-1, 1, 0]])


def test_dlr_is_1_once_the_label_ranks_third():
    np.testing.assert_allclose(dlr(jnp.array([[5.0, 3.0, 1.0, 0.0]]), jnp.array([2])), 1.0)


def test_kl():
    other = RNG.normal(0, 3, LOGITS.shape).astype(np.float32)
    p, q = (np.exp(z.astype(np.float64)) / np.exp(z.astype(np.float64)).sum(1, keepdims=True) for z in (other, LOGITS))
    np.testing.assert_allclose(kl_to(LOGITS, other), (p * np.log(p / q)).sum(1), rtol=1e-4)
    np.testing.assert_allclose(kl_to(LOGITS, LOGITS), 0, atol=1e-6)
    assert not np.any(jax.grad(lambda target: kl_to(LOGITS, target).sum())(other))
    certain = jnp.array([[0.0, -jnp.inf]])
    np.testing.assert_allclose(kl_to(certain, certain), 0, atol=1e-7)


@pytest.mark.parametrize(
    ("loss", "classes", "instead"),
    [
        (cross_entropy, 1, "cannot be fooled"),
        (margin, 1, "cannot be fooled"),
        (dlr, 2, "use the margin loss"),
    ],
)
def test_too_few_classes(loss, classes, instead):
    with pytest.raises(ValueError, match=f"at least {classes + 1} classes.*K={classes}; .*{instead}"):
        loss(jnp.zeros((2, classes)), jnp.zeros(2, jnp.int32))


def test_too_few_classes_for_a_target():
    with pytest.raises(ValueError, match="at least 4 classes.*K=3.*DLR with three"):
        dlr_targeted(jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32), jnp.ones(2, jnp.int32))


def recorded_network(trace):
    """The network of the reference traces: two tanh convolutions and a linear layer, NCHW throughout."""
    layers = [(trace["w_c1.weight"], trace["w_c1.bias"], 1), (trace["w_c2.weight"], trace["w_c2.bias"], 2)]

    @jax.jit
    def logits_fn(images):
        for weight, bias, stride in layers:
            images = lax.conv_general_dilated(images, weight, (stride, stride), [(1, 1), (1, 1)])
            images = jnp.tanh(images + bias[None, :, None, None])
        return 6 * (images.reshape(len(images), -1) @ trace["w_f.weight"].T + trace["w_f.bias"][None])

    return logits_fn


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", ["apgd_ce", "apgd_dlr", "apgdt"])
def test_recorded_best_losses(shared, name, norm):
    """Over a recorded run the largest loss, and whether any point was misclassified, are known."""
    trace = np.load(shared / "golden" / "attacks" / f"e4_{name}_{norm}.npz")
    labels = trace["y"].astype(np.int32)
    logits_fn = recorded_network(trace)
    np.testing.assert_allclose(logits_fn(trace["x"]), trace["logits"], atol=1e-4)

    points = trace["traj"].reshape(-1, *trace["x"].shape[1:])
    logits = logits_fn(points)
    every = np.tile(labels, len(trace["traj"]))
    losses = {
        "apgd_ce": lambda: cross_entropy(logits, every),
        "apgd_dlr": lambda: dlr(logits, every),
        "apgdt": lambda: dlr_targeted(logits, every, np.tile(trace["y_target"], len(trace["traj"]))),
    }
    best = np.asarray(losses[name]()).reshape(-1, len(labels)).max(0)
    np.testing.assert_allclose(best, trace["loss_best"], atol=2e-5)
    fooled = (np.asarray(logits).argmax(1) != every).reshape(-1, len(labels)).any(0)
    np.testing.assert_array_equal(fooled, ~trace["acc"])
