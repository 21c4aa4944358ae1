"""Pools, halving and dropped paths against NumPy and what they promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import Conv, FactorizedReduction, average_pool, drop_path, max_pool

X = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype(np.float32)


def windows(x, stride):
    """What a 3×3 window padded by one pixel sees of each image: arrays [N, C, pixels in sight], row by row."""
    for top in range(0, x.shape[1], stride):
        for left in range(0, x.shape[2], stride):
            seen = x[:, max(top - 1, 0) : top + 2, max(left - 1, 0) : left + 2]
            yield np.moveaxis(seen, -1, 1).reshape(len(x), x.shape[-1], -1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("pool", "reduce"), [(average_pool, np.mean), (max_pool, np.max)])
def test_pools_see_only_the_image(pool, reduce, stride):
    shape = (len(X), -(-X.shape[1] // stride), -(-X.shape[2] // stride), X.shape[3])
    expected = np.stack([reduce(seen, axis=-1) for seen in windows(X, stride)], 1).reshape(shape)
    np.testing.assert_allclose(pool(X, stride), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pool", [average_pool, max_pool])
def test_gradients_of_pools_are_the_slopes_of_their_values(pool, stride):
    with jax.enable_x64(True):
        x = jnp.asarray(X, jnp.float64)
        direction = jnp.asarray(np.random.default_rng(1).normal(size=X.shape))

        def value(x):
            return jnp.sum(jnp.sin(3 * pool(x, stride)))

        slope = jnp.vdot(jax.grad(value)(x), direction)
        step = 1e-6
        numeric = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
        np.testing.assert_allclose(slope, numeric, rtol=1e-6)
        # Forward over reverse, which a Hessian-vector product takes.
        product = jax.jvp(jax.grad(value), (x,), (direction,))[1]
        turned = (jax.grad(value)(x + step * direction) - jax.grad(value)(x - step * direction)) / (2 * step)
        np.testing.assert_allclose(product, turned, rtol=1e-4, atol=1e-6)


def test_halving_takes_even_and_odd_pixels():
    """Its second half sees the image one pixel down and right."""
    identity = functools.partial(lambda features, *args, name, **kw: Conv(features, *args, name=name, **kw))

    class Same:
        def __init__(self, name):
            pass

        def __call__(self, x, *, train):
            return x

    module = FactorizedReduction(4, identity, lambda name: Same(name))
    variables = module.init(jax.random.key(0), X, train=False)
    found = module.apply(variables, X, train=False)
    kernels = [variables["params"][name]["kernel"][0, 0] for name in ("even", "odd")]
    expected = np.concatenate([X[:, ::2, ::2] @ kernels[0], X[:, 1::2, 1::2] @ kernels[1]], -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="even size to an even number of channels, got 5x8"):
        module.init(jax.random.key(0), X[:, :5], train=False)


def test_dropped_paths_keep_their_expectation():
    keys = jax.random.split(jax.random.key(0), 4000)
    found = np.asarray(drop_path(jnp.ones((4000, 2)), keys, 0.25))
    assert set(np.unique(found)) == {0.0, np.float32(1 / 0.75)}
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert abs(found.mean() - 1) < 0.04  # four standard deviations
    np.testing.assert_array_equal(drop_path(jnp.ones((4, 2)), keys[:4], 0.0), np.ones((4, 2)))
