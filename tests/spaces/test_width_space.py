"""Masks, cost and derivation of the channel-masked space."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.objectives import cost_factor
from rnas.spaces import width_space

S1 = width_space.get_space("s1")


def cost_of(space, kind):
    return functools.partial(width_space.cost, space, image_shape=(32, 32, 3), kind=kind)


@pytest.mark.parametrize(("space", "expected"), [("s3", 133_890_048), ("s7", 312_934_400), ("l", 16_391_208_960)])
def test_released_cost(space, expected):
    space = width_space.get_space(space)
    assert width_space.cost(space, space.largest, image_shape=(32, 32, 3), kind="released") == expected


@pytest.mark.parametrize(
    ("space", "kind", "high", "low"),
    [
        ("s3", "macs", 1.5879, 1.5372),
        ("s5", "macs", 1.6408, 1.5875),
        ("s7", "macs", 1.6753, 1.6208),
        ("m", "macs", 1.9575, 1.9452),
        ("l", "macs", 2.0936, 2.0875),
        ("s3", "released", 1.8713, 1.8070),
        ("l", "released", 2.3520, 2.3444),
    ],
)
def test_cost_factor_at_the_extremes(space, kind, high, low):
    space = width_space.get_space(space)
    for widths, expected in ((space.largest, high), (space.smallest, low)):
        amount = jnp.float32(width_space.cost(space, widths, image_shape=(32, 32, 3), kind=kind))
        assert float(cost_factor(amount, 0.2, 0.5)) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("kind", ["macs", "params"])
def test_cost_of_a_one_hot_sample_is_the_count(kind):
    rng = np.random.default_rng(0)
    widths = tuple(int(rng.choice(block.options)) for block in S1.blocks)
    soft = width_space.effective_widths(S1, width_space.one_hot_widths(S1, widths))
    assert float(cost_of(S1, kind)(soft)) == cost_of(S1, kind)(widths)


def test_descent_on_the_cost_factor_favours_narrow_options():
    def factor(logits):
        samples = [jax.nn.softmax(theta) for theta in logits]
        return cost_factor(cost_of(S1, "macs")(width_space.effective_widths(S1, samples)), 0.2, 0.5)

    for gradient in jax.grad(factor)(width_space.initial_width_logits(S1)):
        assert gradient[0] > 0 > gradient[-1]
        assert np.all(np.diff(gradient) < 0)


def test_masks_are_nested_and_mix_linearly():
    (mask, *_) = width_space.channel_masks(S1, [jnp.asarray([0.25, 0.75]), jnp.zeros(4), jnp.zeros(4)])
    np.testing.assert_allclose(mask, [1.0] * 12 + [0.25] * 4, atol=1e-7)


def test_derivation_takes_the_most_probable_width_and_the_widest_of_equals():
    logits = [np.array([0.0, 0.0]), np.array([0.0, 2.0, 1.0, 2.0]), np.array([0.0, 0.0, 0.0, 1.0])]
    assert width_space.derive_widths(S1, logits) == (16, 28, 52)


def test_budget_is_met_at_the_least_loss_per_step():
    rng = np.random.default_rng(1)
    logits = [rng.normal(size=len(block.options)) for block in S1.blocks]
    price = cost_of(S1, "macs")
    start = width_space.derive_widths(S1, logits)
    assert width_space.narrow_to_budget(S1, logits, price(start), price) == start
    target = price(S1.smallest) * 1.05
    found = width_space.narrow_to_budget(S1, logits, target, price)
    assert price(found) <= target
    # Undoing any last narrowing would exceed the target or come from the argmax itself.
    wider = [
        tuple(block.options[block.options.index(w) - (i == b)] if i == b else w
              for i, (block, w) in enumerate(zip(S1.blocks, found, strict=True)))
        for b in range(len(found)) if found[b] != start[b]
    ]  # fmt: skip
    assert wider and any(price(widths) > target for widths in wider)


def test_ties_narrow_the_earliest_block():
    baseline = width_space.WidthSpace("baseline", (width_space.Stage(16, 3, 1, 2),))
    price = lambda widths: sum(widths)  # noqa: E731 (every block saves the same)
    assert width_space.narrow_to_budget(baseline, [np.zeros(2)] * 3, 44, price) == (12, 16, 16)


def test_impossible_budget_names_both_bounds():
    price = cost_of(S1, "macs")
    with pytest.raises(ValueError, match="1,645,960.*2,381,440"):
        width_space.narrow_to_budget(S1, [np.zeros(len(b.options)) for b in S1.blocks], 10, price)


@pytest.mark.parametrize(("widths", "message"), [((16, 32), "3 blocks, but 2"), ((16, 30, 64), "32, 28, 24, 20")])
def test_widths_outside_the_space_are_refused(widths, message):
    with pytest.raises(ValueError, match=message):
        S1.check_widths(widths)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="s3, s5, s7"):
        width_space.get_space("s4")
    with pytest.raises(ValueError, match="'macs', 'params' or 'released'"):
        width_space.cost(S1, S1.largest, image_shape=(32, 32, 3), kind="flops")


def test_every_network_lies_between_the_bounds():
    price = cost_of(S1, "params")
    costs = [price(widths) for widths in itertools.product(*(block.options for block in S1.blocks))]
    assert (min(costs), max(costs)) == (price(S1.smallest), price(S1.largest))


def test_a_registered_space_is_found_by_name():
    toy = width_space.register(dataclasses.replace(S1, name="toy"))
    try:
        assert width_space.get_space("toy") is toy and width_space.register(toy) is toy
        with pytest.raises(ValueError, match="'toy' exists already"):
            width_space.register(dataclasses.replace(toy, stem_width=8))
    finally:
        del width_space.SPACES["toy"]
