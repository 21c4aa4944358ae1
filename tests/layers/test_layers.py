"""Small layers and the counting of sizes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import Conv, ConvBatchNorm, Count, Normalize, count, hswish


def test_hswish():
    x = np.array([-4.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0], np.float32)
    np.testing.assert_allclose(hswish(x), [0.0, 0.0, -1 / 3, 0.0, 2 / 3, 3.0, 5.0], rtol=1e-6)
    slope = jax.vmap(jax.grad(hswish))(jnp.array([-4.0, -1.0, 0.0, 2.0, 5.0]))
    np.testing.assert_allclose(slope, [0.0, 1 / 6, 0.5, 7 / 6, 1.0], rtol=1e-6)


def test_normalize():
    x = jnp.full((1, 2, 2, 2), 0.5)
    y = Normalize((0.5, 0.1), (0.2, 0.4)).apply({}, x)
    np.testing.assert_allclose(y[0, 0, 0], [0.0, 1.0], atol=1e-6)
    with pytest.raises(ValueError, match="2 channels"):
        Normalize((0.5,), (0.2,)).apply({}, x)
    with pytest.raises(ValueError, match="positive"):
        Normalize((0.5, 0.5), (0.2, 0.0)).apply({}, x)


class Small(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = ConvBatchNorm(12, kernel_size=1, use_bias=True)(x, train=train)
        x = ConvBatchNorm(12, stride=2, depthwise=True)(x, train=train)
        x = nn.Conv(6, (3, 3), padding="VALID", use_bias=False)(x)
        return nn.Dense(10)(x.mean((1, 2)))


def test_count():
    params = (4 * 12 + 12 + 24) + (9 * 12 + 24) + 9 * 12 * 6 + (60 + 10)
    macs = 64 * 4 * 12 + 16 * 9 * 12 + 4 * 9 * 12 * 6 + 60
    assert count(Small(), (8, 8, 4), train=True) == Count(params, macs)


def test_count_of_a_scan_is_that_of_all_its_steps():
    class Steps(nn.Module):
        @nn.compact
        def __call__(self, x):
            def step(conv, x, _):
                return conv(x), None

            axes = dict(variable_axes={"params": 0}, split_rngs={"params": True})
            scan = nn.scan(step, **axes, length=3, check_constancy_invariants=False)
            return scan(Conv(4, branches=2, name="conv"), jnp.stack([x, x]), None)[0]

    assert count(Steps(), (8, 8, 4)) == Count(3 * 2 * 9 * 4 * 4, 3 * 2 * 64 * 9 * 4 * 4)
