"""The step that searches cells: what it moves, in which order, over replicas, and by every method."""

import dataclasses
import functools
import shutil

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import objectives, steps
from rnas.artifacts.metrics import read_rows
from rnas.data.sampler import Sampler
from rnas.layers import ConvBatchNorm
from rnas.objectives import (
    SEARCH_METHODS,
    Curvature,
    LookAhead,
    Network,
    Objective,
    ProbabilityPerturbation,
    Sampling,
    SearchMethod,
    TeacherOutputs,
    adversarial_images,
)
from rnas.objectives.schedules import NORMALISED
from rnas.spaces import cell_space
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State
from rnas.training.checkpoints import Checkpoints
from rnas.training.loaders import ResidentLoader, paired_rows
from rnas.training.metrics_log import MetricsLog
from rnas.training.trainer import Plan, Trainer


def metrics_of(workdir):
    return [row.to_json() for row in read_rows(workdir)]


SPACE = cell_space.get_space("dsara")
CLASSES, SHAPE, BATCH = 4, (6, 6, 1), 8
PER_EPOCH = 5
PLAIN = steps.Augmentation(0, False)
RATE, MOMENTUM, DECAY = 0.1, 0.9, 1e-3


class Mixture(nn.Module):
    """A supernet with the tables of the space and next to no layers: tables weigh the channels of convolutions."""

    taps = ("first", "second")

    @nn.compact
    def __call__(self, images, probabilities, *, train=False):
        x, out = images - 0.5, {}
        for name, kind in zip(self.taps, ("accurate", "robust"), strict=True):
            x = ConvBatchNorm(len(SPACE.operations), axis_name=steps.AXIS, name=name)(x, train=train)
            x = out[name] = nn.softplus(x * probabilities[kind].mean(0)[None, None, None] * len(SPACE.operations))
        x = x * probabilities["reduce"].sum(0)[None, None, None]
        return nn.Dense(CLASSES, name="classifier")(x.mean((1, 2))), out


SUPERNET = Mixture()
OPTIMIZER = Optimizer(
    optax.chain(optax.clip_by_global_norm(5.0), optax.add_decayed_weights(DECAY), optax.trace(MOMENTUM)),
    optax.constant_schedule(RATE),
)
# Plain descent: Adam would turn the rounding of a vanishing gradient into a whole step.
ARCH_OPTIMIZER = Optimizer(optax.identity(), optax.constant_schedule(1.0))


def make_step(method="dsara", *, second_order="exact", adversarial="pgd_at", arch_optimizer=ARCH_OPTIMIZER, **fields):
    objective = Objective(adversarial, epsilon=0.1, step_size=0.05, steps=2, attack_bn="train_frozen", size=4, **fields)
    step = steps.CellSearchStep(
        SUPERNET, objective, PLAIN, OPTIMIZER, arch_optimizer,
        Sampling(5.0, 0.1, 0.0, False, PER_EPOCH),
        SearchMethod(method, PER_EPOCH, stage1_epochs=1, adversarial_weight=2.0),
        LookAhead(second_order, 0.01, MOMENTUM, DECAY),
        Curvature(0.01, 0, PER_EPOCH), ProbabilityPerturbation(4, PER_EPOCH), teacher=teacher, teacher_taps=("only",),
    )  # fmt: skip
    return step, step.metrics


def teacher(variables, images):
    """Classifies by brightness; its one tap is the image."""
    del variables
    brightness = images.mean((1, 2, 3))[:, None]
    return -jnp.square(brightness - jnp.linspace(0.2, 0.8, CLASSES)[None]) * 50, {"only": images}


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = np.arange(2 * BATCH, dtype=np.int32) % CLASSES
    images = (40 + 50 * labels[:, None, None, None] + random.integers(0, 40, (2 * BATCH, *SHAPE))).astype(np.uint8)
    return images, labels


def fresh(step=0, arch_optimizer=ARCH_OPTIMIZER) -> State:
    probabilities = cell_space.probabilities(cell_space.initial_logits(SPACE, jax.random.key(1)))
    variables = jax.jit(SUPERNET.init)(jax.random.key(0), jnp.zeros((1, *SHAPE)), probabilities)
    random = np.random.default_rng(1)
    architecture = {
        "cells": {kind: random.normal(size=(14, 7)).astype(np.float32) for kind in SPACE.types},
        "tutors": np.zeros((2, 1), np.float32),
    }
    state = State.create(dict(variables), OPTIMIZER, architecture, arch_optimizer)
    return jax.device_get(state.replace(step=jnp.int32(step)))


def dealt(data, replicas):
    """Images and labels as the replicas get them: a share of the training half, then one of the validation half."""
    return tuple(
        np.stack([np.concatenate([half.reshape(replicas, -1, *half.shape[1:])[r] for half in np.split(part, 2)])
                  for r in range(replicas)])
        for part in data
    )  # fmt: skip


def run(step, state, data, replicas=1):
    images, labels = dealt(data, replicas)
    over = jax.jit(jax.vmap(step, in_axes=(None, 0, 0, None, None), out_axes=None, axis_name=steps.AXIS))
    return jax.device_get(over(state, images, labels, None, jax.random.key(7)))


@functools.cache
def stepped(method="dsara", number=PER_EPOCH, **options):
    """(state before, state after, mean metrics) of one step."""
    random = np.random.default_rng(0)
    labels = np.arange(2 * BATCH, dtype=np.int32) % CLASSES
    images = (40 + 50 * labels[:, None, None, None] + random.integers(0, 40, (2 * BATCH, *SHAPE))).astype(np.uint8)
    step, _ = make_step(method, **options)
    before = fresh(number)
    after, sums = run(step, before, (images, labels))
    return before, after, {name: value / sums["count"] for name, value in sums.items()}


def changed(one, other) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


# -- what a step does -----------------------------------------------------------------------------------


def test_a_step_moves_everything_once():
    before, after, means = stepped()
    assert after.step == before.step + 1
    assert changed(before.params, after.params) and changed(before.batch_stats, after.batch_stats)
    for kind in SPACE.types:
        assert changed(before.architecture["cells"][kind], after.architecture["cells"][kind])
    assert {"natural_loss", "adversarial_loss", "gamma", "cosine", "loss", "adversarial_accuracy"} <= means.keys()
    assert 0 <= means["gamma"] <= 1 and -1 <= means["cosine"] <= 1
    assert means["adversarial_loss"] > means["natural_loss"]


def test_stage_1_leaves_the_natural_loss_out():
    first, second = (stepped(number=number)[2] for number in (PER_EPOCH - 1, PER_EPOCH))
    assert first["gamma"] == 0 < second["gamma"]
    arnas = stepped("arnas", number=PER_EPOCH - 1)[2]
    assert arnas["gamma"] > 0


def test_running_statistics_move_in_the_weight_pass_alone(data):
    """They are those of one pass over the adversarial training images; validation and look-ahead leave no trace."""
    before, after, _ = stepped()
    objective = Objective("pgd_at", epsilon=0.1, step_size=0.05, steps=2, attack_bn="train_frozen")
    old, new = (cell_space.probabilities(state.architecture["cells"]) for state in (before, after))

    def statistics(images, labels):
        keys = steps.step_keys(jax.random.key(7), before.step, BATCH)
        network = Network(SUPERNET, before.params, before.batch_stats, old)
        images = steps.augment_to_float(PLAIN, keys.augment, images)
        adversarial, _ = adversarial_images(network, objective, images, labels, keys.attack, TeacherOutputs())
        return dataclasses.replace(network, sample=new).forward(adversarial, train=True)[2]

    images, labels = data
    found = jax.jit(jax.vmap(statistics, axis_name=steps.AXIS))(images[None, :BATCH], labels[None, :BATCH])
    chex.assert_trees_all_close(after.batch_stats, jax.tree.map(lambda x: x[0], found), rtol=1e-4, atol=1e-6)


def test_weights_take_the_step_of_sgd_at_the_new_architecture(data):
    """On natural images, where nothing is adversarial, the step can be followed by hand."""
    before, after, _ = stepped("darts2", adversarial="none")
    images, labels = data[0][:BATCH].astype(np.float32) / 255, data[1][:BATCH]

    def loss(params):
        variables = {"params": params, "batch_stats": before.batch_stats}
        (logits, _), _ = jax.vmap(
            lambda x: SUPERNET.apply(
                variables, x, cell_space.probabilities(after.architecture["cells"]), train=True, mutable=["batch_stats"]
            ),
            axis_name=steps.AXIS,
        )(images[None])
        return objectives.cross_entropy(logits[0], labels).mean()

    gradient = jax.jit(jax.grad(loss))(before.params)
    expected = jax.tree.map(lambda w, g: w - RATE * (g + DECAY * w), before.params, gradient)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-4, atol=1e-6)


def test_architecture_descends_the_validation_loss_one_step_ahead(data):
    """d L_val(w − ξ·(∇L_train + λ·w), α) / dα, by differentiating the training step; the momentum is still zero."""
    before, after, _ = stepped("darts2", adversarial="none")
    images, labels = data[0].astype(np.float32) / 255, data[1]

    def loss(params, architecture, rows):
        variables = {"params": params, "batch_stats": before.batch_stats}
        (logits, _), _ = jax.vmap(
            lambda x: SUPERNET.apply(
                variables, x, cell_space.probabilities(architecture), train=True, mutable=["batch_stats"]
            ),
            axis_name=steps.AXIS,
        )(images[None, rows])
        return objectives.cross_entropy(logits[0], labels[rows]).mean()

    def ahead(architecture):
        gradient = jax.grad(loss)(before.params, architecture, slice(0, BATCH))
        params = jax.tree.map(lambda w, g: w - RATE * (g + DECAY * w), before.params, gradient)
        return loss(params, architecture, slice(BATCH, None))

    gradient = jax.jit(jax.grad(ahead))(before.architecture["cells"])
    moved = jax.tree.map(lambda a, b: a - b, before.architecture["cells"], after.architecture["cells"])
    chex.assert_trees_all_close(moved, gradient, rtol=2e-3, atol=2e-6)
    # Without the step ahead the gradient is another.
    before, after, _ = stepped("darts1", adversarial="none", second_order="none")
    first_order = before.architecture["cells"]["accurate"] - after.architecture["cells"]["accurate"]
    assert not np.allclose(first_order, gradient["accurate"], rtol=0.01, atol=0)


@pytest.mark.parametrize(
    "method",
    [name if name == "dsara" else pytest.param(name, marks=pytest.mark.slow) for name in SEARCH_METHODS],
)
def test_every_method_learns_one_batch(method, data):
    adversarial = "pgd_at" if SEARCH_METHODS[method].pair else "none"
    optimizer = Optimizer(optax.scale_by_adam(), optax.constant_schedule(3e-3))
    second_order = "exact" if method in ("darts2", "dsara") else "none"
    step, names = make_step(method, adversarial=adversarial, second_order=second_order, arch_optimizer=optimizer)
    images, labels = dealt(data, 1)
    over = jax.vmap(step, in_axes=(None, 0, 0, None, None), out_axes=None, axis_name=steps.AXIS)

    @jax.jit
    def many(state):
        return jax.lax.scan(lambda state, _: over(state, images, labels, None, jax.random.key(7)), state, length=12)

    state = fresh(arch_optimizer=optimizer)
    after, sums = jax.device_get(many(state))
    # Of the other half, at the architecture as it is: SmoothDARTS trains its weights at worse ones.
    losses = sums["adversarial_loss" if SEARCH_METHODS[method].pair else "validation_loss"] / sums["count"]
    assert losses[-3:].mean() < 0.8 * losses[:3].mean() and np.all(sums["nonfinite_step"] == steps.NEVER)
    assert set(names) <= sums.keys()
    assert changed(state.architecture["cells"], after.architecture["cells"])
    genotype = cell_space.discretise(SPACE, cell_space.probabilities(after.architecture["cells"]))
    assert cell_space.Genotype.from_json(genotype.to_json()) == genotype


def test_a_teacher_moves_tutors_and_adds_its_terms():
    before, after, means = stepped("arnas", gamma=1.0, kl_weight=1.0)
    assert means["kl"] > 0 and means["attention"] > 0
    assert means["loss"] == pytest.approx(means["classification"] + means["kl"] + means["attention"], rel=1e-5)
    # With one teacher tap there is nothing to choose.
    np.testing.assert_allclose(after.architecture["tutors"], before.architecture["tutors"], atol=1e-6)


# -- replicas and rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"),
    [
        pytest.param("arnas", {}, marks=pytest.mark.slow),
        ("arnas", dict(gamma=1.0, kl_weight=1.0)),
        pytest.param("smooth_adv", {}, marks=pytest.mark.slow),
    ],
)
def test_four_replicas_equal_one(data, method, options):
    step, names = make_step(method, **options)
    state = fresh()
    one, four = (run(step, state, data, replicas) for replicas in (1, 4))
    chex.assert_trees_all_close(four[0], one[0], rtol=2e-3, atol=2e-5)
    for name in ("loss", *names[len(steps.TRAIN_METRICS) :]):
        assert four[1][name] == pytest.approx(one[1][name], rel=1e-3, abs=1e-4), name


def test_rows_of_a_step_come_from_both_halves():
    weights, architecture = (Sampler(np.arange(start, start + 40), 8, 3) for start in (0, 100))
    rows = paired_rows(weights, architecture)(7, 3)
    assert rows.shape == (3, 16)
    devices = rows.reshape(3, jax.device_count(), -1)
    share = devices.shape[2] // 2
    assert np.all(devices[..., :share] < 40) and np.all(devices[..., share:] >= 100)
    np.testing.assert_array_equal(devices[..., :share].reshape(3, -1), weights.rows_at(7, 3))
    np.testing.assert_array_equal(devices[..., share:].reshape(3, -1), architecture.rows_at(7, 3))


def test_the_published_regulariser_is_that_of_the_mean_loss_and_of_normalised_images(data):
    """AdvRush's code differentiates the mean of a batch with respect to (x - mean) / std; ours each image's loss."""
    state, (images, labels) = fresh(), data
    images, unit = images.astype(np.float32) / 255, NORMALISED
    step, _ = make_step("advrush", second_order="none", adversarial="none")
    network = objectives.Network(
        SUPERNET, state.params, state.batch_stats, cell_space.probabilities(state.architecture["cells"])
    )
    batch = objectives.Batch(images, images, labels, None)

    def published(normalised, distance):
        def mean_loss(points):
            logits, _, _ = network.forward(points * unit, train=False)
            return jnp.mean(objectives.cross_entropy(logits, labels))

        here = jax.grad(mean_loss)(normalised)
        sign = jnp.sign(here)
        length = jnp.linalg.norm(sign.reshape(len(labels), -1), axis=1)[:, None, None, None]
        turned = jax.grad(mean_loss)(normalised + distance * sign / length) - here
        return 4 * jnp.mean(jnp.linalg.norm(turned.reshape(len(labels), -1), axis=1))

    terms = {
        scale: dataclasses.replace(
            step, curvature=Curvature.at_scale(scale, 0.01, 0, PER_EPOCH, batch_size=len(labels))
        ).curvature_term(network, batch, jnp.int32(2 * PER_EPOCH))
        for scale in ("released", "own")
    }
    expected = 0.01 * published(images / unit, 0.6)
    np.testing.assert_allclose(jnp.mean(terms["released"]), expected, rtol=1e-3)
    assert jnp.mean(terms["own"]) > 32 * expected


def test_regulariser_waits_for_its_epoch():
    schedule = Curvature(weight=0.01, first_epoch=2, steps_per_epoch=5)
    assert [bool(schedule.is_on(step)) for step in (0, 9, 10, 99)] == [False, False, True, True]
    np.testing.assert_allclose([schedule.distance(5 * epoch) for epoch in range(7)], [0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.5])
    radius = ProbabilityPerturbation(epochs=10, steps_per_epoch=5).radius
    np.testing.assert_allclose([radius(0), radius(25), radius(49)], [0.03, 0.03 + 0.27 * 0.5, 0.03 + 0.27 * 0.9])
    assert dataclasses.replace(schedule, first_epoch=0).is_on(0)


# -- a whole search --------------------------------------------------------------------------------------

PLAN = Plan(
    "search", total=PER_EPOCH + 3, steps_per_epoch=PER_EPOCH, log_every=2, checkpoint_every=1, validate_every=0, seed=3,
    observe_every=PER_EPOCH,
)  # fmt: skip


def searched(run, workdir, state):
    random = np.random.default_rng(0)
    labels = np.arange(64, dtype=np.int32) % CLASSES
    images = (40 + 50 * labels[:, None, None, None] + random.integers(0, 40, (64, *SHAPE))).astype(np.uint8)
    rows_at = paired_rows(Sampler(np.arange(32), 8, 5), Sampler(np.arange(32, 64), 8, 6))
    loader = ResidentLoader(images, labels, rows_at, batch_size=16, most=4, what="twice search.batch_size")

    def observe(state):
        logits = jax.device_get(state.architecture["cells"]["accurate"][0])
        return {f"accurate/0/{i}": value for i, value in enumerate(logits)}

    with Checkpoints(workdir / "checkpoints", keep=20) as checkpoints, MetricsLog(workdir, "search") as log:
        return Trainer(PLAN, run, loader, checkpoints, log, observe=observe).fit(state)


@pytest.mark.slow
def test_a_search_resumed_in_either_stage_equals_the_uninterrupted_one(tmp_path):
    """Bit for bit, from every step, the first of stage 2 among them; the record of the architecture too."""
    step, names = make_step("dsara")
    run = steps.run_steps(step, names)
    whole = tmp_path / "whole"
    expected = searched(run, whole, fresh())
    recorded = [{**line, "time": None} for line in metrics_of(whole)]
    seen = [line["step"] for line in recorded if line["split"] == "architecture"]
    assert seen == [0, PER_EPOCH, PLAN.total]
    gammas = {line["step"]: line["gamma"] for line in recorded if line["split"] == "train"}
    assert all((gamma > 0) == (step > PER_EPOCH) for step, gamma in gammas.items())
    for number in (1, PER_EPOCH - 1, PER_EPOCH, PER_EPOCH + 1):
        resumed = tmp_path / str(number)
        shutil.copytree(whole / "checkpoints" / str(number), resumed / "checkpoints" / str(number))
        shutil.copy(whole / "metrics.jsonl", resumed)  # has later steps, which are to be forgotten
        chex.assert_trees_all_equal(searched(run, resumed, fresh()), expected)
        assert [{**line, "time": None} for line in metrics_of(resumed)] == recorded
