"""First iterates and their keys."""

import jax
import numpy as np
import pytest

from rnas.attacks import initial_images
from rnas.attacks.projections import distance
from rnas.attacks.random_start import per_example_keys

KEY = jax.random.key(3)
IMAGES = np.random.default_rng(0).uniform(0.3, 0.7, (300, 4, 4, 2)).astype(np.float32)
D = IMAGES[0].size


def moves(epsilon, start, norm="linf", images=IMAGES):
    return np.asarray(initial_images(KEY, images, epsilon, start, norm) - images)


def test_uniform_linf_fills_the_ball():
    share = moves("8/255", "uniform") / (8 / 255)
    assert abs(share).max() <= 1 + 1e-4
    np.testing.assert_allclose(np.quantile(share, [0.1, 0.25, 0.5, 0.75, 0.9]), [-0.8, -0.5, 0, 0.5, 0.8], atol=0.03)


def test_uniform_l2_fills_the_ball():
    """In a ball of dimension d the share of the radius to the power d is uniform; directions average out."""
    move = moves(0.2, "uniform", "l2")
    share = np.asarray(distance(move, "l2")) / 0.2
    assert share.max() <= 1 + 1e-4
    np.testing.assert_allclose(np.quantile(share**D, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.08)
    np.testing.assert_allclose(move.mean(0), 0, atol=5 * 0.2 / np.sqrt(D * len(move)))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_gaussian_has_its_own_scale_but_stays_in_the_ball(norm):
    free = moves(0.5, "gaussian", norm)
    np.testing.assert_allclose([free.mean(), free.std()], [0, 0.001], atol=5e-5)
    held = moves(0.0005, "gaussian", norm)
    assert np.max(distance(held, norm)) <= 0.0005 + 1e-6


def test_none_is_the_input_bit_for_bit():
    np.testing.assert_array_equal(initial_images(KEY, IMAGES, 0.1, "none"), IMAGES)


@pytest.mark.parametrize("start", ["uniform", "gaussian"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_box_and_zero_radius(start, norm):
    corners = np.round(IMAGES)
    first = np.asarray(initial_images(KEY, corners, 0.3, start, norm))
    assert first.min() >= 0 and first.max() <= 1 and (first != corners).any()
    np.testing.assert_array_equal(initial_images(KEY, IMAGES, 0.0, start, norm), IMAGES)


@pytest.mark.parametrize(("start", "norm"), [("uniform", "linf"), ("uniform", "l2"), ("gaussian", "linf")])
def test_a_draw_belongs_to_its_key_alone(start, norm):
    keys = per_example_keys(KEY, 5)
    whole = np.asarray(initial_images(KEY, IMAGES[:5], 0.1, start, norm))
    part = initial_images(keys[2:4], IMAGES[2:4], 0.1, start, norm)
    np.testing.assert_allclose(part, whole[2:4], atol=1e-7)
    assert len({row.tobytes() for row in whole - IMAGES[:5]}) == 5


def test_refusals():
    with pytest.raises(ValueError, match="unknown start 'random'; expected one of uniform"):
        initial_images(KEY, IMAGES, 0.1, "random")
    with pytest.raises(ValueError, match=r"jax.random.key\(seed\)"):
        initial_images(jax.random.PRNGKey(0), IMAGES, 0.1)
    with pytest.raises(ValueError, match=r"300, one per example; got shape \(2,\)"):
        initial_images(jax.random.split(KEY), IMAGES, 0.1)
