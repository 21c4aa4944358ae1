"""Balls inside the pixel box."""

import numpy as np
import pytest

from rnas.attacks.projections import direction, distance, project


@pytest.fixture(scope="module")
def problems():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (60, 3, 2, 2)).astype(np.float32)
    images[:10] = np.round(images[:10])  # on the faces of the box
    return images, images + rng.normal(0, 0.5, images.shape).astype(np.float32)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])
def test_feasible_and_idempotent(problems, norm, epsilon):
    images, points = problems
    inside = np.asarray(project(points, images, epsilon, norm))
    assert inside.min() >= 0 and inside.max() <= 1
    assert np.max(distance(inside - images, norm)) <= epsilon + 1e-6
    np.testing.assert_allclose(project(inside, images, epsilon, norm), inside, atol=1e-6)
    if epsilon == 0:
        np.testing.assert_array_equal(inside, images)


def test_values(problems):
    images, points = problems
    move = points.astype(np.float64) - images
    length = np.sqrt((move**2).sum((1, 2, 3), keepdims=True))
    scaled = images + move * np.minimum(1, 0.4 / length)
    np.testing.assert_allclose(project(points, images, 0.4, "l2"), np.clip(scaled, 0, 1), atol=1e-6)
    nearest = np.clip(points, np.maximum(images - 0.1, 0), np.minimum(images + 0.1, 1))
    np.testing.assert_allclose(project(points, images, 0.1, "linf"), nearest, atol=1e-6)


@pytest.mark.parametrize(("norm", "order"), [("linf", np.inf), ("l2", 2), ("l1", 1)])
def test_distance(problems, norm, order):
    rows = (problems[1] - problems[0]).reshape(60, -1)
    np.testing.assert_allclose(distance(rows.reshape(60, 3, 2, 2), norm), np.linalg.norm(rows, order, 1), rtol=1e-5)


@pytest.mark.parametrize(("norm", "dual"), [("linf", "l1"), ("l2", "l2")])
def test_direction_attains_the_dual_norm(problems, norm, dual):
    gradient = (problems[1] - problems[0]).astype(np.float32)
    step = np.asarray(direction(gradient, norm))
    np.testing.assert_allclose(distance(step, norm), 1, atol=1e-5)
    np.testing.assert_allclose((step * gradient).sum((1, 2, 3)), distance(gradient, dual), rtol=1e-5)
    assert not np.any(direction(0 * gradient, norm))
