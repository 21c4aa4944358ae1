"""Optimisers: the rate follows the global step, weight decay is coupled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.config.defaults.rnas_cl import get_config
from rnas.steps.optimizer import make_optimizer


def section(**changes):
    config = get_config().search.optimizer
    config.update(changes)
    return config


def test_cosine_falls_from_the_first_rate_to_the_last():
    optimizer = make_optimizer(section(learning_rate=0.004), epochs=10, steps_per_epoch=7)
    for step in (0, 1, 35, 69, 70):
        expected = 0.004 * (4e-5 + (1 - 4e-5) * (1 + np.cos(np.pi * step / 70)) / 2)
        np.testing.assert_allclose(optimizer.schedule(step), expected, rtol=1e-4, atol=1e-9)


def test_step_schedule_drops_at_its_milestones():
    config = section(schedule="step", learning_rate=0.1, milestones=(2, 3.5))
    schedule = make_optimizer(config, epochs=5, steps_per_epoch=10).schedule
    rates = [float(schedule(step)) for step in (0, 19, 20, 34, 35, 49)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-6)


def test_constant_schedule():
    schedule = make_optimizer(section(schedule="constant", learning_rate=0.3), epochs=5, steps_per_epoch=10).schedule
    assert schedule(0) == schedule(1000) == np.float32(0.3)


def run(config, gradients, steps):
    """Parameters after each update from [1, -2], by the optimiser of `config`."""
    optimizer = make_optimizer(config, epochs=10, steps_per_epoch=10)
    params, found = jnp.array([1.0, -2.0]), []
    state = optimizer.init(params)
    for gradient, step in zip(gradients, steps, strict=True):
        params, state = jax.jit(optimizer.update)(jnp.asarray(gradient), state, params, step)
        found.append(np.asarray(params))
    return found


GRADIENTS = np.array([[0.3, -0.1], [0.2, 0.4], [-0.5, 0.1]], np.float32)


def cosine(step):
    return 4e-5 + (1 - 4e-5) * (1 + np.cos(np.pi * step / 100)) / 2


def test_adam_scales_the_decay_like_any_gradient():
    found = run(section(name="adam", learning_rate=0.01, l2=0.1), GRADIENTS, (0, 1, 2))
    params, mean, square = np.array([1.0, -2.0]), 0.0, 0.0
    for count, gradient in enumerate(GRADIENTS):
        gradient = gradient + 0.1 * params
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        unbiased = mean / (1 - 0.9 ** (count + 1)), square / (1 - 0.999 ** (count + 1))
        params = params - 0.01 * cosine(count) * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        np.testing.assert_allclose(found[count], params, rtol=1e-5)


def test_the_rate_is_that_of_the_global_step():
    """Half of the steps go to another optimiser: the rate advances all the same."""
    numbers = (0, 40, 90)
    found = run(section(name="sgd", learning_rate=0.5, l2=0.1, momentum=0.8), GRADIENTS, numbers)
    params, velocity = np.array([1.0, -2.0]), 0.0
    for count, number in enumerate(numbers):
        velocity = 0.8 * velocity + GRADIENTS[count] + 0.1 * params
        params = params - 0.5 * cosine(number) * velocity
        np.testing.assert_allclose(found[count], params, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"name": "lion"}, "optimizer.name 'lion'.*adam or sgd"), ({"schedule": "linear"}, "'linear'.*cosine, step")],
)
def test_unknown_names_are_refused(changes, expected):
    with pytest.raises(ValueError, match=expected):
        make_optimizer(section(**changes), epochs=1, steps_per_epoch=1)
