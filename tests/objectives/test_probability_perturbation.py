"""SmoothDARTS's perturbations stay probabilities, within their radius, and the adversarial one never helps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.objectives import adversarial_perturbation, uniform_perturbation
from rnas.objectives.probability_perturbation import on_simplex, uniform_noise

TABLES = {
    "normal": jax.nn.softmax(jax.random.normal(jax.random.key(0), (14, 8))),
    "reduce": jax.nn.softmax(3 * jax.random.normal(jax.random.key(1), (14, 8))),
}
RADIUS = 0.1


def assert_probabilities(tables):
    for table in jax.tree.leaves(tables):
        assert table.min() >= 0 and table.max() <= 1
        np.testing.assert_allclose(table.sum(-1), 1, rtol=1e-6)


def test_rows_are_clipped_and_scaled():
    table = jnp.array([[0.5, 0.7, -0.2], [-0.3, -0.1, -0.2], [1.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    expected = [[0.5 / 1.2, 0.7 / 1.2, 0.0], [0.0, 1.0, 0.0], [1 / 1.5, 0.5 / 1.5, 0.0], [0.2, 0.3, 0.5]]
    np.testing.assert_allclose(on_simplex({"a": table})["a"], expected, rtol=1e-6)


def test_uniform_noise_fills_its_radius():
    noise = uniform_noise(jax.random.key(2), TABLES, RADIUS)
    for one in jax.tree.leaves(noise):
        assert np.abs(one).max() <= RADIUS and one.max() > 0.9 * RADIUS and one.min() < -0.9 * RADIUS
    assert not np.array_equal(noise["normal"], noise["reduce"])
    assert_probabilities(uniform_perturbation(jax.random.key(2), TABLES, RADIUS))


@pytest.mark.parametrize("rising", [True, False])
def test_adversarial_perturbation(rising):
    target = jax.nn.softmax(jax.random.normal(jax.random.key(3), (14, 8)))

    def loss(tables):
        apart = sum(jnp.sum(jnp.square(table - target)) for table in tables.values())
        return apart if rising else -apart

    found = adversarial_perturbation(loss, jax.random.key(4), TABLES, RADIUS)
    assert_probabilities(found)
    assert loss(found) > loss(TABLES)
    random = uniform_perturbation(jax.random.key(4), TABLES, RADIUS)
    assert loss(found) > loss(random), "steps do better than the start they were drawn from"


def test_tables_come_back_where_nothing_is_worse():
    def loss(tables):
        return -sum(jnp.sum(jnp.square(tables[name] - TABLES[name])) for name in TABLES)

    found = adversarial_perturbation(loss, jax.random.key(4), TABLES, RADIUS)
    for name in TABLES:
        np.testing.assert_array_equal(found[name], TABLES[name])


def test_one_step_by_hand():
    """From a known start, a slope of known sign, the ball and the simplex, in that order."""
    table, slope = np.array([[0.05, 0.15, 0.8]]), np.array([[-1.0, 1.0, 0.5]])
    key = jax.random.key(5)
    start = np.asarray(uniform_perturbation(key, {"a": jnp.asarray(table)}, RADIUS)["a"])
    moved = np.clip(start + 2 * RADIUS * np.sign(slope), table - RADIUS, table + RADIUS)
    moved = np.clip(moved, 0, 1)
    found = adversarial_perturbation(
        lambda tables: jnp.sum(tables["a"] * slope), key, {"a": jnp.asarray(table)}, RADIUS, steps=1
    )
    np.testing.assert_allclose(found["a"], moved / moved.sum(), rtol=1e-5)


def test_replicas_take_one_perturbation():
    """Each has a loss of its own; together they take the perturbation of the mean of their losses."""
    targets = jax.nn.softmax(2 * jax.random.normal(jax.random.key(3), (4, 14, 8)))

    def loss(tables, target):
        return sum(jnp.sum(jnp.square(table - target)) for table in tables.values())

    def replica(target):
        average = functools.partial(jax.lax.pmean, axis_name="replicas")
        return adversarial_perturbation(
            lambda tables: loss(tables, target), jax.random.key(4), TABLES, RADIUS, average=average
        )

    found = jax.vmap(replica, axis_name="replicas")(targets)
    expected = adversarial_perturbation(
        lambda tables: jnp.mean(jnp.stack([loss(tables, target) for target in targets])),
        jax.random.key(4),
        TABLES,
        RADIUS,
    )
    for name in TABLES:
        np.testing.assert_allclose(found[name], np.stack([expected[name]] * 4), atol=1e-5)
    alone = adversarial_perturbation(lambda tables: loss(tables, targets[0]), jax.random.key(4), TABLES, RADIUS)
    assert np.abs(alone["normal"] - expected["normal"]).max() > 0.01, "the replicas would not agree by themselves"
