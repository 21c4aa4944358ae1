"""When the search updates what, how it prices networks, and how it draws them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.objectives import Alternation, Sampling, SearchCost


@pytest.mark.parametrize(("steps", "weights", "architecture"), [(195, 156, 39), (175, 140, 35), (5, 4, 1), (9, 8, 1)])
def test_the_last_fifth_of_an_epoch_updates_the_architecture(steps, weights, architecture):
    alternation = Alternation(steps)
    assert (alternation.weight_steps, alternation.arch_steps) == (weights, architecture)
    kinds = [bool(alternation.is_weight_step(step)) for step in range(3 * steps)]
    assert kinds == 3 * (weights * [True] + architecture * [False])


def test_the_kind_of_a_step_may_be_traced():
    alternation = Alternation(10, warmup_epochs=1)
    traced = jax.jit(jax.vmap(alternation.is_weight_step))(jnp.arange(40))
    np.testing.assert_array_equal(traced, [alternation.is_weight_step(step) for step in range(40)])


def test_warm_up_epochs_only_update_weights():
    alternation = Alternation(10, warmup_epochs=2)
    kinds = [bool(alternation.is_weight_step(step)) for step in range(30)]
    assert kinds == 28 * [True] + 2 * [False]


def test_other_fractions():
    assert Alternation(10, 0.5).arch_steps == 5
    assert Alternation(10, 0.3).arch_steps == 3  # 0.3 · 10 is not a whole number in binary


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_an_epoch_too_short_to_alternate_is_refused(steps):
    with pytest.raises(ValueError, match=f"{steps} steps.*at least 5.*batch_size"):
        Alternation(steps)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2])
def test_a_fraction_that_leaves_one_kind_out_is_refused(fraction):
    with pytest.raises(ValueError, match=f"between 0 and 1, but {fraction}"):
        Alternation(10, fraction)


def macs(widths):
    return 100.0 * widths[0] + 10.0 * widths[1]


def test_factor_penalty_and_cost():
    widths = (jnp.float32(6.0), jnp.float32(5.0))  # 650
    factor, penalty, cost = SearchCost(macs, 0.2, 0.5)(widths)
    np.testing.assert_allclose((factor, penalty, cost), (0.1 * np.log(650.0), 0.0, 650.0), rtol=1e-6)
    factor, penalty, cost = SearchCost(macs, 0.0, 0.5)(widths)
    assert (factor, penalty, cost) == (1.0, 0.0, 650.0)


def test_the_soft_budget_counts_only_what_exceeds_it():
    def params(widths):
        return widths[0]

    widths = (jnp.float32(6.0), jnp.float32(5.0))
    _, penalty, cost = SearchCost(macs, 0.2, 0.5, budget=params, target=4.0, weight=10.0)(widths)
    np.testing.assert_allclose((penalty, cost), (10 * 0.5**2, 650.0), rtol=1e-6)
    assert SearchCost(macs, 0.2, 0.5, budget=params, target=6.5, weight=10.0)(widths)[1] == 0


def test_factor_and_penalty_push_towards_narrower_options():
    def total(theta):
        sample = jax.nn.softmax(theta)
        cost = SearchCost(lambda widths: 100 * widths[0], 0.2, 0.5, budget=macs, target=300.0, weight=1.0)
        factor, penalty, _ = cost((sample @ jnp.array([8.0, 4.0]), jnp.float32(0.0)))
        return jnp.stack([factor, penalty])

    wide, narrow = np.moveaxis(np.asarray(jax.jacobian(total)(jnp.zeros(2))), 1, 0)
    assert np.all(wide > 0) and np.all(narrow < 0)


@pytest.fixture
def sampling():
    return Sampling(start=5.0, decay=0.045, minimum=0.0, hard=False, steps_per_epoch=10)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 5.0), (50, 0.527), (99, 0.0581), (160, 0.00373), (200, 0.00062)])
def test_temperatures_of_the_published_schedule(sampling, epoch, expected):
    for step in (10 * epoch, 10 * epoch + 9):  # constant within an epoch
        np.testing.assert_allclose(sampling.temperature(jnp.int32(step)), expected, rtol=5e-3)


def test_the_temperature_has_a_floor():
    assert Sampling(5.0, 0.045, 0.1, False, 10).temperature(10_000) == np.float32(0.1)


def test_blocks_draw_independently_and_every_key_anew(sampling):
    logits = (jnp.zeros(3), jnp.zeros(3))
    first, second = sampling.widths(jax.random.key(0), logits, 0)
    assert np.any(first != second)
    again, _ = sampling.widths(jax.random.key(0), logits, 0)
    other, _ = sampling.widths(jax.random.key(1), logits, 0)
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    np.testing.assert_allclose([first.sum(), second.sum()], 1.0, rtol=1e-6)


def test_samples_are_the_softmax_of_logits_and_one_noise_at_the_temperature_of_the_step(sampling):
    key, logits = jax.random.key(4), np.array([[0.5, -1.0, 2.0], [0.0, 0.0, 1.0]], np.float32)
    noise = np.asarray(jax.random.gumbel(key, logits.shape), np.float64)
    for step in (0, 300):
        scaled = np.exp((logits + noise) / (5.0 * np.exp(-0.045 * (step // 10))))
        expected = scaled / scaled.sum(-1, keepdims=True)
        np.testing.assert_allclose(sampling.tutors(key, jnp.asarray(logits), step), expected, rtol=1e-4)


def test_hard_tutors_are_one_hot():
    sampling = Sampling(5.0, 0.045, 0.0, True, 10)
    drawn = np.asarray(sampling.tutors(jax.random.key(0), jnp.zeros((20, 4)), 0))
    np.testing.assert_array_equal(np.sort(drawn, axis=-1), np.tile([0.0, 0, 0, 1], (20, 1)))
