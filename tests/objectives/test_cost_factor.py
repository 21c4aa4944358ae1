"""Cost factor and budget penalty against published arithmetic and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.objectives import budget_penalty, cost_factor


@pytest.mark.parametrize(
    "cost, expected",
    [
        (7_874_176, 1.5879),
        (4_743_304, 1.5372),
        (18_859_648, 1.6753),
        (317_065_472, 1.9575),
        (1_236_992_512, 2.0936),
        (16_391_208_960, 2.3520),
    ],
)
def test_factor_of_known_networks(cost, expected):
    assert float(cost_factor(jnp.float32(cost), 0.2, 0.5)) == pytest.approx(expected, abs=5.1e-5)


def test_factor_is_alpha_log_of_a_power():
    assert float(cost_factor(jnp.float32(1000.0), 0.3, 0.7)) == pytest.approx(0.3 * np.log(1000.0**0.7))


def test_factor_favours_narrower_options():
    widths = jnp.array([16.0, 12.0, 8.0])

    def factor(logits):
        return cost_factor(100.0 * jnp.sum(jax.nn.softmax(logits) * widths), 0.2, 0.5)

    # Effective width 12: the gradient is αβ·m_i·(w_i - 12)/12, and descent goes against it.
    expected = 0.1 * (1 / 3) * (np.asarray(widths) - 12) / 12
    np.testing.assert_allclose(jax.grad(factor)(jnp.zeros(3)), expected, atol=1e-7)


@pytest.mark.parametrize("cost, expected", [(50.0, 0.0), (100.0, 0.0), (150.0, 2.5), (300.0, 40.0)])
def test_penalty_beyond_the_budget_only(cost, expected):
    assert float(budget_penalty(jnp.float32(cost), 100.0)) == pytest.approx(expected)
    slope = jax.grad(budget_penalty)(jnp.float32(cost), 100.0)
    assert float(slope) == pytest.approx(2 * 10.0 * max(0.0, cost / 100 - 1) / 100)


def test_penalty_weight():
    assert float(budget_penalty(jnp.float32(150.0), 100.0, weight=4.0)) == pytest.approx(1.0)
