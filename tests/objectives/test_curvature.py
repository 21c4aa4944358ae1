"""AdvRush's regulariser against the input Hessian of functions whose Hessian is known."""

import jax
import jax.numpy as jnp
import numpy as np

from rnas.objectives import input_curvature

MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, -2.0, 0.5], [0.0, 0.5, 1.0]])
IMAGES = np.array([[0.2, 0.4, -0.3], [0.9, -0.1, 0.7]])


def quadratic(matrix):
    return lambda points: 0.5 * jnp.einsum("ni,ij,nj->n", points, matrix, points)


def test_quadratic_loss_gives_the_hessian_product_at_any_distance(float64):
    sign = np.sign(IMAGES @ MATRIX)
    unit = sign / np.linalg.norm(sign, axis=1, keepdims=True)
    expected = np.linalg.norm(unit @ MATRIX, axis=1)
    for distance in (1e-3, 1.5):
        found = input_curvature(quadratic(MATRIX), jnp.asarray(IMAGES), distance)
        np.testing.assert_allclose(found, 4 * distance * expected, rtol=1e-9)


def test_smooth_loss_tends_to_its_hessian_product(float64):
    def loss(points):
        return jnp.sum(jnp.exp(0.5 * points) + jnp.sin(points) * jnp.roll(points, 1, axis=1), axis=1)

    images = jnp.asarray(IMAGES)
    slope = jax.grad(lambda points: loss(points).sum())(images)
    unit = jnp.sign(slope) / np.sqrt(3)
    product = jax.jvp(jax.grad(lambda points: loss(points).sum()), (images,), (unit,))[1]
    errors = []
    for distance in (1e-2, 1e-3):
        found = input_curvature(loss, images, distance) / (4 * distance)
        errors.append(np.abs(found - np.linalg.norm(product, axis=1)).max())
    assert errors[1] < 1e-3 and 5 < errors[0] / errors[1] < 20, "the error falls with the distance"


def test_weights_get_a_gradient_and_flat_losses_none(float64):
    def total(scale, distance=1.5):
        return jnp.sum(input_curvature(lambda points: quadratic(scale * MATRIX)(points), jnp.asarray(IMAGES), distance))

    np.testing.assert_allclose(jax.grad(total)(2.0), total(2.0) / 2.0, rtol=1e-9)  # it is linear in the matrix
    assert jax.grad(total)(0.0) == 0.0
    assert jax.grad(total)(2.0, 0.0) == 0.0, "no distance, no difference, and no NaN"
