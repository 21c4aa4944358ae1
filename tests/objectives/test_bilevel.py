"""Gradients one training step ahead: against differentiation of the step itself, over replicas, and in time."""

import functools

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import objectives
from rnas.layers import convolve
from rnas.objectives import LookAhead, SearchMethod, architecture_gradients
from rnas.objectives.bilevel import virtual_step
from rnas.steps.optimizer import Optimizer

RATE, MOMENTUM, DECAY = 0.05, 0.9, 3e-4
RECIPE = dict(momentum=MOMENTUM, decay=DECAY)
IMAGES = ("NHWC", "HWIO", "NHWC")


def network(weights, architecture, images, activation, conv=lax.conv_general_dilated):
    """Two mixed edges, each a weighted sum of a convolution, a smaller one and an average pool, then a classifier."""
    x = images
    for layer, alpha in zip(("first", "second"), architecture["cells"], strict=True):
        mix = jax.nn.softmax(alpha)
        three, one = (
            conv(activation(x), weights[layer][name], (1, 1), "SAME", dimension_numbers=IMAGES)
            for name in ("three", "one")
        )
        mean = lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME") / 9
        x = mix[0] * three + mix[1] * one + mix[2] * jnp.mean(mean, -1, keepdims=True)
        x = (x - x.mean((0, 1, 2), keepdims=True)) * lax.rsqrt(x.var((0, 1, 2), keepdims=True) + 1e-3)
    return activation(x).mean((1, 2)) @ weights["classifier"]


class Problem:
    """A net, two halves of images, and losses of both; in double precision where that is enabled."""

    def __init__(self, activation=jax.nn.softplus, conv=lax.conv_general_dilated, images=8):
        random = np.random.default_rng(0)
        draw = lambda *shape: jnp.asarray(random.normal(size=shape))  # noqa: E731
        self.weights = {
            layer: {"three": 0.4 * draw(3, 3, channels, 4), "one": 0.6 * draw(1, 1, channels, 4)}
            for layer, channels in (("first", 2), ("second", 4))
        } | {"classifier": draw(4, 3)}
        self.architecture = {"cells": (0.3 * draw(3), 0.3 * draw(3))}
        self.buffer = jax.tree.map(lambda leaf: 0.1 * draw(*leaf.shape), self.weights)
        self.images = {half: draw(images, 6, 6, 2) for half in ("train", "natural", "adversarial")}
        self.labels = {half: random.integers(0, 3, images) for half in self.images}
        self.network = functools.partial(network, activation=activation, conv=conv)

    def loss_of(self, weights, architecture, batch):
        images, labels = batch
        logits = self.network(weights, architecture, images)
        return jnp.mean(objectives.cross_entropy(logits, labels)), len(labels)

    def loss(self, half):
        return functools.partial(self.loss_of, batch=(self.images[half], self.labels[half]))

    def batches(self, *halves):
        return tuple(jnp.stack([part[half] for half in halves]) for part in (self.images, self.labels))

    def gradients(self, second_order, validation=("natural", "adversarial"), rate=RATE, radius=0.01):
        look_ahead = LookAhead(second_order, radius, **RECIPE)

        @jax.jit
        def gradients(weights, architecture, buffer):
            found = architecture_gradients(
                self.loss("train"), self.loss_of, self.batches(*validation), weights, architecture, look_ahead,
                momentum_buffer=buffer, rate=rate,
            )  # fmt: skip
            return found.gradients

        return gradients(self.weights, self.architecture, self.buffer)

    def straight(self, half, rate=RATE):
        """d L_val(w'(α), α) / dα, by differentiating the training step itself."""

        def after(architecture):
            gradient = jax.grad(lambda w: self.loss("train")(w, architecture)[0])(self.weights)
            ahead = jax.tree.map(
                lambda w, g, v: w - rate * (MOMENTUM * v + g + DECAY * w), self.weights, gradient, self.buffer
            )
            return self.loss(half)(ahead, architecture)[0]

        return jax.jit(jax.grad(after))(self.architecture)

    def by_vjp(self, half):
        """The same with the mixed derivative as the gradient of ⟨∇_w L_train(w, α), u⟩."""
        gradient = jax.jit(jax.grad(lambda w: self.loss("train")(w, self.architecture)[0]))(self.weights)
        ahead = virtual_step(self.weights, gradient, self.buffer, RATE, **RECIPE)
        direction, first = jax.jit(jax.grad(lambda w, a: self.loss(half)(w, a)[0], (0, 1)))(ahead, self.architecture)

        def along(architecture):
            slopes = jax.grad(lambda w: self.loss("train")(w, architecture)[0])(self.weights)
            return optax.tree.vdot(slopes, lax.stop_gradient(direction))

        return jax.tree.map(lambda g, h: g - RATE * h, first, jax.jit(jax.grad(along))(self.architecture))


def distance(one, other):
    """Relative distance of two pytrees."""
    return float(optax.tree.norm(optax.tree.sub(one, other)) / optax.tree.norm(other))


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# -- second order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("conv", [pytest.param(lax.conv_general_dilated, marks=pytest.mark.slow), convolve])
def test_exact_gradients_equal_both_oracles(float64, conv):
    problem = Problem(conv=conv)
    found = problem.gradients("exact")
    for gradient, half in zip(found, ("natural", "adversarial"), strict=True):
        assert distance(gradient, problem.straight(half)) < 1e-10
        assert distance(gradient, problem.by_vjp(half)) < 1e-10


def test_finite_difference_is_of_second_order_where_activations_are_smooth(float64):
    problem = Problem()
    exact = problem.gradients("exact", ("adversarial",))[0]
    coarse, fine = (
        distance(problem.gradients("finite_difference", ("adversarial",), radius=radius)[0], exact)
        for radius in (0.1, 0.01)
    )
    assert fine < 1e-3
    assert 80 < coarse / fine < 125, "a tenth of the radius gives a hundredth of the error"


def test_finite_difference_agrees_across_kinks_only_when_tiny(float64):
    problem = Problem(jax.nn.relu)
    exact = problem.gradients("exact", ("adversarial",))[0]
    tiny = problem.gradients("finite_difference", ("adversarial",), radius=1e-5)[0]
    assert distance(tiny, exact) < 1e-6


@pytest.mark.parametrize("second_order", ["exact", "finite_difference"])
def test_a_validation_loss_that_the_weights_do_not_move_has_no_second_order(second_order):
    problem = Problem()

    @jax.jit
    def gradients(weights, architecture):
        return architecture_gradients(
            problem.loss("train"), lambda w, a, _: (sum(jnp.sum(alpha**2) for alpha in a["cells"]), None),
            jnp.zeros(1), weights, architecture, LookAhead(second_order, **RECIPE), momentum_buffer=problem.buffer,
            rate=RATE,
        ).gradients  # fmt: skip

    found = gradients(problem.weights, problem.architecture)
    chex.assert_trees_all_close(found[0], jax.tree.map(lambda a: 2 * a, problem.architecture), rtol=1e-6)


def test_without_a_step_ahead_the_gradient_is_of_first_order(float64):
    problem = Problem()
    first = [jax.jit(jax.grad(lambda a, h=half: problem.loss(h)(problem.weights, a)[0]))(problem.architecture)
             for half in ("natural", "adversarial")]  # fmt: skip
    chex.assert_trees_all_close(list(problem.gradients("none")), first, rtol=1e-12)
    exact = problem.gradients("exact")
    assert all(distance(one, other) > 1e-3 for one, other in zip(exact, first, strict=True)), "the step matters"


def test_virtual_step_is_a_real_step_of_sgd(float64):
    problem = Problem()
    optimizer = Optimizer(
        optax.chain(optax.add_decayed_weights(DECAY), optax.trace(MOMENTUM)), optax.constant_schedule(RATE)
    )
    weights, opt_state = problem.weights, optimizer.init(problem.weights)
    slope = jax.jit(jax.grad(lambda w: problem.loss("train")(w, problem.architecture)[0]))
    for step in range(4):
        gradient = slope(weights)
        ahead = virtual_step(weights, gradient, optimizer.momentum(opt_state), RATE, **RECIPE)
        weights, opt_state = optimizer.update(gradient, opt_state, weights, step)
        chex.assert_trees_all_close(ahead, weights, rtol=1e-13)


def test_unknown_second_order_is_refused():
    with pytest.raises(ValueError, match="unknown second_order 'hessian'; expected exact, finite_difference, none"):
        LookAhead("hessian")


# -- replicas --------------------------------------------------------------------------------------------


def over_replicas(problem, look_ahead, replicas, places="all"):
    """Gradients with the images dealt to replicas; with `places='end'` averaged only after the products."""

    def one(index):
        def share(batch, axis):
            per = batch[0].shape[axis] // replicas
            return tuple(lax.dynamic_slice_in_dim(part, index * per, per, axis) for part in batch)

        def loss(weights, architecture, batch):
            images, labels = batch
            # Statistics over all replicas, as synchronised BatchNorm has them.
            x = lax.all_gather(images, "replica", tiled=True)
            logits = problem.network(weights, architecture, x)
            logits = lax.dynamic_slice_in_dim(logits, index * len(labels), len(labels))
            return jnp.mean(objectives.cross_entropy(logits, labels)), ()

        mean = functools.partial(lax.pmean, axis_name="replica")
        (training,) = zip(*share(problem.batches("train"), 1), strict=True)
        found = architecture_gradients(
            functools.partial(loss, batch=training), loss, share(problem.batches("natural", "adversarial"), 1),
            problem.weights, problem.architecture, look_ahead, momentum_buffer=problem.buffer, rate=RATE,
            average=mean if places == "all" else lambda tree: tree,
        )  # fmt: skip
        return mean(found.gradients)

    return jax.jit(jax.vmap(one, axis_name="replica", out_axes=None))(jnp.arange(replicas))


@pytest.mark.slow  # tests/steps/test_cell_search.py has it of whole steps
@pytest.mark.parametrize("second_order", ["exact", "finite_difference"])
def test_four_replicas_equal_one(float64, second_order):
    problem = Problem()
    look_ahead = LookAhead(second_order, **RECIPE)
    expected = problem.gradients(second_order)
    found = over_replicas(problem, look_ahead, 4)
    chex.assert_trees_all_close(found, expected, rtol=1e-9)
    method = SearchMethod("arnas", 10, adversarial_weight=0.7)
    chex.assert_trees_all_close(
        method.direction(*found, jnp.int32(0)), method.direction(*expected, jnp.int32(0)), rtol=1e-8
    )
    # The means do not commute with what follows: leaving them to the end gives another result.
    late = over_replicas(problem, look_ahead, 4, places="end")
    assert distance(late[0], expected[0]) > 1e-3


# -- methods ---------------------------------------------------------------------------------------------

PAIR = ({"a": jnp.array([1.0, 0.0])}, {"a": jnp.array([0.0, 2.0])})


def test_stage_1_follows_the_adversarial_gradient_alone():
    method = SearchMethod("dsara", steps_per_epoch=5, stage1_epochs=2)
    weighted = SearchMethod("dsara", steps_per_epoch=5, stage1_epochs=2, adversarial_weight=0.25)
    for step in (0, 9):
        direction, share = method.direction(*PAIR, jnp.int32(step))
        np.testing.assert_array_equal(direction["a"], PAIR[1]["a"])
        assert share == 0
        np.testing.assert_array_equal(weighted.direction(*PAIR, jnp.int32(step))[0]["a"], PAIR[1]["a"] / 4)
    for step in (10, 99):
        direction, share = method.direction(*PAIR, jnp.int32(step))
        # The foot of the perpendicular from 0 on the segment from (1, 0) to (0, 2).
        np.testing.assert_allclose(direction["a"], [0.8, 0.4], rtol=1e-6)
        np.testing.assert_allclose(share, 0.8, rtol=1e-6)


def test_the_step_of_the_architecture_does_not_jump_at_the_switch_of_stages():
    """Adam with the published moments; gradients of one length and noisy directions, on which λ = 0.1 makes γ small."""
    switch, after = 600, 200
    method = SearchMethod("dsara", steps_per_epoch=switch, stage1_epochs=1, adversarial_weight=0.1)
    adam = optax.adam(1e-3, b1=0.5, b2=0.999)
    keys = jax.random.split(jax.random.key(0), switch + after)

    def one(carry, now):
        state, number = carry
        noise = jax.random.normal(now, (2, 50))
        natural, adversarial = 1 + 0.5 * noise
        direction, gamma = method.direction({"a": natural}, {"a": adversarial}, number)
        step, state = adam.update(direction, state)
        return (state, number + 1), (jnp.abs(step["a"]).mean(), gamma)

    start = adam.init({"a": jnp.zeros(50)}), jnp.int32(0)
    lengths, gammas = jax.lax.scan(one, start, keys)[1]
    assert gammas[switch:].max() < 0.05
    assert float(lengths[switch:].mean()) == pytest.approx(float(lengths[switch - after : switch].mean()), rel=0.1)


def test_arnas_weighs_from_the_first_step():
    method = SearchMethod("arnas", steps_per_epoch=5, stage1_epochs=2, adversarial_weight=0.5)
    direction, share = method.direction(*PAIR, jnp.int32(0))
    np.testing.assert_allclose(direction["a"], [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(share, 0.5, rtol=1e-6)


def test_sum_adds_the_weighted_gradients():
    method = SearchMethod("sum", steps_per_epoch=5, adversarial_weight=0.25)
    direction, _ = method.direction(*PAIR, jnp.int32(0))
    np.testing.assert_allclose(direction["a"], [1.0, 0.5])


def test_a_small_weight_hands_over_to_the_adversarial_gradient(float64):
    """γ is 0 for every λ ≤ ⟨g_nat, g_adv⟩ / ‖g_adv‖², and goes to 0 with λ in any case."""
    natural, adversarial = {"a": jnp.array([2.0, 1.0])}, {"a": jnp.array([1.0, 2.0])}
    bound = 4 / 5

    def share(weight, adversarial=adversarial):
        return float(SearchMethod("arnas", 1, adversarial_weight=weight).direction(natural, adversarial, 0)[1])

    assert share(0.3 * bound) == share((1 - 1e-12) * bound) == 0.0 < share((1 + 1e-6) * bound) < 1e-5
    opposed = {"a": -adversarial["a"]}
    shares = [share(weight, opposed) for weight in (1.0, 1e-2, 1e-4)]
    assert shares[0] > shares[1] > shares[2] > 0 and shares[2] < 1e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(name="darts3"), "unknown search method 'darts3'; expected one of dsara, arnas"),
        (dict(name="dsara", stage1_epochs=-1), "stage1_epochs=-1 must not be negative"),
        (dict(name="dsara", adversarial_weight=0.0), "adversarial_weight=0.0 must be positive"),
    ],
)
def test_impossible_methods_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SearchMethod(steps_per_epoch=1, **fields)
