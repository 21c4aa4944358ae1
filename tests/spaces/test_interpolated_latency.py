"""Latency between measured widths: exact at them, monotone, with the gradient that is worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.spaces.interpolated_latency import BlockLatency, NetworkLatency

FIRST = BlockLatency((16,), (8, 12, 16), np.array([[1.0, 3.0, 4.0]]))
SECOND = BlockLatency((8, 12, 16), (20, 32), np.array([[2.0, 5.0], [3.0, 6.5], [5.0, 11.0]]))
NETWORK = NetworkLatency(16, (FIRST, SECOND), offset=0.5, scale=2.0)


def test_it_is_exact_at_the_knots():
    for row, width_in in enumerate(SECOND.inputs):
        for column, width_out in enumerate(SECOND.outputs):
            measured = SECOND.milliseconds[row, column]
            assert SECOND(width_in, width_out, np) == measured
            assert float(SECOND(jnp.float32(width_in), jnp.float32(width_out))) == measured
    for column, width in enumerate(FIRST.outputs):
        assert NETWORK((width, 32)) == 0.5 + 2 * (FIRST.milliseconds[0, column] + SECOND(width, 32, np))


def test_it_is_bilinear_between_them():
    # Three quarters of the way from 8 to 12, a third of the way from 20 to 32.
    by_hand = (2 / 3) * (0.25 * 2 + 0.75 * 3) + (1 / 3) * (0.25 * 5 + 0.75 * 6.5)
    assert SECOND(11, 24, np) == pytest.approx(by_hand)
    assert float(jax.jit(SECOND)(jnp.float32(11), jnp.float32(24))) == pytest.approx(by_hand, rel=1e-6)
    soft = NETWORK((jnp.float32(11), jnp.float32(24)))
    assert soft.shape == () and float(soft) == pytest.approx(NETWORK((11, 24)), rel=1e-6)
    assert isinstance(NETWORK((11, 24)), float)


def test_the_gradient_is_that_by_hand():
    """∂T/∂c_0 = scale · (slope of the first block by its output + slope of the second by its input)."""
    found = jax.grad(lambda widths: NETWORK((widths[0], widths[1])))(jnp.array([11.0, 24.0]))
    first = (3 - 1) / 4
    second_by_input = (2 / 3) * (3 - 2) / 4 + (1 / 3) * (6.5 - 5) / 4
    second_by_output = (0.25 * (5 - 2) + 0.75 * (6.5 - 3)) / 12
    np.testing.assert_allclose(found, [2 * (first + second_by_input), 2 * second_by_output], rtol=1e-5)
    # At the largest widths, where hard samples are, the slope is that to the next narrower ones.
    found = jax.grad(lambda widths: NETWORK((widths[0], widths[1])))(jnp.array([16.0, 32.0]))
    np.testing.assert_allclose(found, [2 * ((4 - 3) / 4 + (11 - 6.5) / 4), 2 * (11 - 5) / 12], rtol=1e-5)


def test_wider_is_never_faster():
    random = np.random.default_rng(0)
    for _ in range(20):
        noisy = BlockLatency((8, 12, 16, 24), (4, 8, 20), random.uniform(0.5, 2.0, (4, 3)))
        points = np.sort(random.uniform(8, 24, 30)), np.sort(random.uniform(4, 20, 30))
        for fixed in (9.0, 23.0):
            assert (np.diff([noisy(x, fixed / 2, np) for x in points[0]]) >= -1e-12).all()
            assert (np.diff([noisy(fixed, y, np) for y in points[1]]) >= -1e-12).all()
    one = BlockLatency((8,), (4, 8, 12), np.array([[2.0, 1.0, 3.0]]))
    np.testing.assert_array_equal(one.milliseconds, [[2.0, 2.0, 3.0]])


def test_the_sum_is_fitted_to_two_networks():
    few, many = (8, 20), (16, 32)
    blocks = NetworkLatency(16, (FIRST, SECOND))
    assert (blocks(few), blocks(many)) == (3.0, 15.0)
    fitted = blocks.fitted((few, 10.0), (many, 16.0))
    assert fitted.scale == pytest.approx(0.5) and fitted.offset == pytest.approx(8.5)
    assert fitted(few) == pytest.approx(10.0) and fitted(many) == pytest.approx(16.0)
    assert fitted((12, 20)) == pytest.approx(8.5 + 0.5 * 6)
    with pytest.raises(ValueError, match="largest network was measured at 9 ms, the smallest at 10 ms"):
        blocks.fitted((few, 10.0), (many, 9.0))


@pytest.mark.parametrize(
    ("inputs", "outputs", "values", "message"),
    [
        ((8,), (4, 8), [[1.0]], r"shape \(1, 1\): expected positive numbers \[1, 2\]"),
        ((8,), (4,), [[0.0]], "expected positive numbers"),
        ((8,), (4,), [[np.nan]], "expected positive numbers"),
        ((8,), (8, 4), [[1.0, 2.0]], r"outputs = \(8, 4\): expected widths in ascending order"),
    ],
)
def test_what_is_no_table_is_refused(inputs, outputs, values, message):
    with pytest.raises(ValueError, match=message):
        BlockLatency(inputs, outputs, np.array(values))
