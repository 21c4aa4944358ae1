"""Projection on L1 ball and box: a float64 oracle, optimality conditions, recorded reference values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.attacks.projections import project_l1

SHAPE = (3, 5, 2)
project = jax.jit(project_l1)


def problems(spread, count=60):
    """Images, a third of their pixels on the box, and points that leave it."""
    rng = np.random.default_rng(int(1000 * spread))
    images = rng.uniform(0, 1, (count, *SHAPE)).astype(np.float32)
    images = np.where(rng.uniform(size=images.shape) < 1 / 3, np.round(images), images)
    return images, images + rng.normal(0, spread, images.shape).astype(np.float32)


def sorted_projection(points, images, epsilon):
    """The closed form in float64: the length is linear in λ between sorted corners."""
    nearest = np.array(images, np.float64)
    for n in range(len(images)):
        image = images[n].astype(np.float64)
        move = points[n].astype(np.float64) - image
        room, size = np.where(move > 0, 1 - image, image), abs(move)

        def cut(shrinkage, size=size, room=room):
            return np.clip(size - shrinkage, 0, room)

        corners = np.unique(np.concatenate([[0], size.ravel(), np.maximum(size - room, 0).ravel()]))
        lengths = np.array([cut(corner).sum() for corner in corners])
        shrinkage = 0.0
        if lengths[0] > epsilon:
            after = np.argmax(lengths <= epsilon)
            share = (lengths[after - 1] - epsilon) / (lengths[after - 1] - lengths[after])
            shrinkage = corners[after - 1] + share * (corners[after] - corners[after - 1])
        nearest[n] += np.sign(move) * cut(shrinkage)
    return nearest


def test_oracle_minimises():
    """The oracle itself: no feasible point on the way to random feasible ones is nearer."""
    images, points = problems(0.5, count=6)
    nearest = sorted_projection(points, images, 1.5)
    np.testing.assert_allclose(abs(nearest - images).sum((1, 2, 3)), 1.5)
    rng = np.random.default_rng(0)
    for _ in range(200):
        other = np.clip(images + rng.normal(0, 0.5, images.shape) * (rng.uniform(size=images.shape) < 0.2), 0, 1)
        length = abs(other - images).sum((1, 2, 3), keepdims=True)
        other = images + (other - images) * np.minimum(1, 1.5 / np.maximum(length, 1e-9))
        # For a projection p of v on a convex set, (v - p) · (q - p) <= 0 for all q in it.
        assert np.max(((points - nearest) * (other - nearest)).sum((1, 2, 3))) < 1e-6


@pytest.mark.parametrize("spread", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("epsilon", [0.3, 1.5, 4.0])
def test_equals_the_oracle(spread, epsilon):
    images, points = problems(spread)
    nearest = np.asarray(project(points, images, epsilon))
    np.testing.assert_allclose(nearest, sorted_projection(points, images, epsilon), atol=2e-6)
    assert nearest.min() >= 0 and nearest.max() <= 1
    assert np.max(abs(nearest.astype(np.float64) - images).sum((1, 2, 3))) <= epsilon + 1e-6


def test_equals_the_reference(shared):
    with np.load(shared / "golden" / "attacks" / "e4_projections.npz") as file:
        images, move, epsilon = file["pts"], file["l1_y"], float(file["l1_eps"])
        expected = images + move + file["l1_d"].reshape(images.shape)
    np.testing.assert_allclose(project(images + move, images, epsilon), expected, atol=2e-6)


def test_pixels_projected_away_are_the_clean_ones():
    images, points = problems(0.5)
    nearest, exact = np.asarray(project(points, images, 1.5)), sorted_projection(points, images, 1.5)
    moved = abs(exact - images)
    away, clear = moved == 0, moved > 1e-5
    assert away.mean() > 0.5
    np.testing.assert_array_equal(nearest[away], images[away])
    assert np.all(nearest[clear] != images[clear])


def test_points_inside_stay():
    images, points = problems(0.05)
    points = np.clip(points, 0, 1)
    np.testing.assert_allclose(project(points, images, 100.0), points, atol=6e-8)


def test_radius_zero_and_no_move():
    images, points = problems(0.5)
    np.testing.assert_array_equal(project(points, images, 0.0), images)
    np.testing.assert_array_equal(project(images, images, 1.0), images)
    np.testing.assert_array_equal(project(images, images, 0.0), images)


def test_many_pixels_stay_in_the_ball():
    """3072 pixels at radius 12: as close as sums in float32 can bring them."""
    rng = np.random.default_rng(1)
    images = rng.uniform(0, 1, (4, 32, 32, 3)).astype(np.float32)
    points = images + rng.normal(0, 1, images.shape).astype(np.float32)
    nearest = np.asarray(project(points, images, 12.0), np.float64)
    np.testing.assert_allclose(abs(nearest - images).sum((1, 2, 3)), 12, atol=2e-5)


def test_rows_do_not_mix():
    images, points = problems(0.5)
    strangers = 1 - points
    strangers[3] = points[3]
    np.testing.assert_array_equal(project(points, images, 1.5)[3], project(strangers, images, 1.5)[3])


@pytest.mark.parametrize("shape", [(0, *SHAPE), (2, 0, 0, 3)])
def test_nothing_to_project(shape):
    assert project_l1(jnp.zeros(shape), jnp.zeros(shape), 1.0).shape == shape
