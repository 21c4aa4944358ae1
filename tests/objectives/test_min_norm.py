"""The shortest vector between gradients: against brute force, another solver, and the properties that descent needs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from rnas.objectives import min_norm_direction, min_norm_weights


def first_weight(one, other):
    return float(min_norm_weights([jnp.asarray(one), jnp.asarray(other)])[0])


@pytest.mark.parametrize(
    ("one", "other", "weight"),
    [
        ((1.0, 0.0), (0.0, 1.0), 0.5),
        ((1.0, 0.0), (2.0, 0.0), 1.0),
        ((2.0, 0.0), (1.0, 0.0), 0.0),
        ((1.0, 0.0), (-1.0, 0.0), 0.5),
        ((0.3, 0.4), (0.3, 0.4), 0.5),
        ((0.0, 0.0), (0.0, 0.0), 0.5),
        ((0.0, 0.0), (1.0, 2.0), 1.0),
    ],
)
def test_pairs_with_a_known_answer(one, other, weight):
    assert first_weight(one, other) == pytest.approx(weight, abs=1e-6)


def pairs(count, seed=0, size=6):
    random = np.random.default_rng(seed)
    ones = random.normal(size=(count, size))
    # Some nearly parallel, some of very different lengths.
    others = random.normal(size=(count, 1)) * ones * (random.random((count, 1)) < 0.3) + random.normal(
        size=(count, size)
    ) * 10 ** random.uniform(-2, 2, (count, 1))
    return ones, others


def test_ten_thousand_pairs_against_brute_force(float64):
    ones, others = pairs(10_000)
    found = jax.jit(jax.vmap(lambda a, b: min_norm_weights([a, b])))(ones, others)
    np.testing.assert_allclose(found.sum(1), 1.0)
    grid = np.linspace(0, 1, 1001)
    # ‖γa + (1 − γ)b‖² on the grid, from three inner products a pair.
    aa, ab, bb = ((x * y).sum(1)[:, None] for x, y in ((ones, ones), (ones, others), (others, others)))
    squares = grid**2 * aa + 2 * grid * (1 - grid) * ab + (1 - grid) ** 2 * bb
    best = grid[squares.argmin(1)]
    np.testing.assert_allclose(found[:, 0], best, atol=0.5001e-3)
    ours = np.square(found[:, :1] * ones + found[:, 1:] * others).sum(1)
    assert np.all(ours <= squares.min(1) * (1 + 1e-12))


def test_direction_descends_every_objective(float64):
    ones, others = pairs(1000, seed=1)
    direction, _ = jax.vmap(lambda a, b: min_norm_direction([a, b]))(ones, others)
    square = np.square(direction).sum(1)
    for gradient in (ones, others):
        assert np.all((direction * gradient).sum(1) >= square * (1 - 1e-9) - 1e-12)


@pytest.mark.parametrize("scales", [(1e6, 1e-6), (1e-6, 1e6), (1e-25, 1e-25), (1e18, 1e18)])
def test_extreme_scales_stay_finite_and_right(scales):
    one, other = (np.float32(scale) * np.array([[1, 0.5], [-0.5, 1]], np.float32)[i] for i, scale in enumerate(scales))
    weight = first_weight(one, other)
    exact = np.float64(other - one) @ np.float64(other) / np.square(np.float64(other - one)).sum()
    assert np.isfinite(weight) and weight == pytest.approx(np.clip(exact, 0, 1), abs=1e-5)


@pytest.mark.parametrize("scales", [(1e6, 1e-6), (1e-6, 1e6), (1e3, 1e-3)])
@pytest.mark.parametrize("cosine", [-0.9, -0.3])
def test_direction_descends_in_single_precision_whatever_the_scales(scales, cosine):
    """At an obtuse angle both weights are positive, and the smaller one is far below the rounding of the other."""
    one = np.float32(scales[0]) * np.array([1, 0], np.float32)
    other = np.float32(scales[1]) * np.array([cosine, np.sqrt(1 - cosine**2)], np.float32)
    direction, weights = min_norm_direction([jnp.asarray(one), jnp.asarray(other)])
    assert np.all(weights > 0)
    direction = np.asarray(direction, np.float64)
    for gradient in (one, other):
        rounding = 1e-6 * np.linalg.norm(direction) * np.linalg.norm(gradient)
        assert direction @ gradient >= direction @ direction - rounding


@pytest.mark.parametrize("objectives", [3, 5])
def test_more_objectives_against_another_solver(float64, objectives):
    random = np.random.default_rng(objectives)
    for _ in range(5):
        gradients = random.normal(size=(objectives, 8)) + 0.3
        gram = gradients @ gradients.T
        solved = optimize.minimize(
            lambda c, gram=gram: c @ gram @ c,
            np.full(objectives, 1 / objectives),
            jac=lambda c, gram=gram: 2 * gram @ c,
            bounds=[(0, 1)] * objectives,
            constraints={"type": "eq", "fun": lambda c: c.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        found = np.asarray(min_norm_weights(list(gradients)))
        assert found.min() >= 0 and found.sum() == pytest.approx(1)
        assert found @ gram @ found <= solved.fun * (1 + 1e-7) + 1e-12
        slopes = gram @ found  # each objective descends along the vector
        assert slopes.min() >= (1 - 1e-6) * (found @ gram @ found) - 1e-12


def test_two_objectives_in_a_list_of_three_give_the_closed_form(float64):
    ones, others = pairs(20, seed=2)
    for one, other in zip(ones, others, strict=True):
        pair = min_norm_weights([one, other])
        three = min_norm_weights([one, other, other])
        np.testing.assert_allclose([three[0], three[1] + three[2]], pair, atol=1e-7)


def test_pytrees_are_weighed_as_one_vector():
    one = {"a": jnp.array([1.0]), "b": jnp.array([[0.0, 2.0]])}
    other = {"a": jnp.array([-1.0]), "b": jnp.array([[1.0, 1.0]])}
    direction, weights = min_norm_direction([one, other])
    flat = min_norm_weights([jnp.array([1.0, 0.0, 2.0]), jnp.array([-1.0, 1.0, 1.0])])
    chex.assert_trees_all_close(weights, flat, rtol=1e-6)
    expected = jax.tree.map(lambda a, b: flat[0] * a + flat[1] * b, one, other)
    chex.assert_trees_all_close(direction, expected, rtol=1e-6)
    np.testing.assert_array_equal(min_norm_weights([one]), [1.0])
