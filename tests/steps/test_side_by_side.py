"""Networks that train side by side end where each ends alone."""

import dataclasses
import functools
import re
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import steps
from rnas.models import build_model
from rnas.models.width_network import FBNet
from rnas.objectives import ArmTerms, FixedTutors, Objective, index_tutors
from rnas.spaces import width_space
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State
from rnas.training.loaders import ResidentLoader, replicate

BATCH, STEPS = 8, 50
NORMALISATION = dict(num_classes=10, mean=(0.5,), std=(0.25,))


@pytest.fixture(scope="module")
def tiny():
    """The smallest network of `tiny` and a teacher with random weights, in double precision.

    Single precision shows nothing after 50 steps of Adam, which turns the rounding errors of a vanishing gradient (of
    every bias ahead of a BatchNorm) into whole steps.
    """
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        space, shape = width_space.get_space("tiny"), (8, 8, 1)
        teacher = build_model("wide_resnet_10_1", **NORMALISATION)
        fields = dict(space=space, widths=space.smallest, momentum=0.9, axis_name=steps.AXIS)
        model = FBNet(**fields, **NORMALISATION)

        def initial(module, seed):
            variables = jax.jit(module.init)(jax.random.key(seed), jnp.zeros((1, *shape)))
            return jax.tree.map(lambda leaf: np.asarray(leaf, float), jax.device_get(dict(variables)))

        images, labels = random.integers(0, 256, (64, *shape), np.uint8), random.integers(0, 10, 64, np.int32)
        loader = ResidentLoader(images, labels, rows_at, batch_size=BATCH, most=STEPS, what="batch_size")
        searched, hub = random.choice(teacher.taps, len(space.taps)), (teacher.taps[-1],) * len(space.taps)
        yield types.SimpleNamespace(
            model=model,
            teacher=functools.partial(teacher.apply, train=False),
            teacher_variables=initial(teacher, 0),
            variables=initial(model, 1),
            loader=loader,
            tutors=[FixedTutors(space.taps, tuple(chosen), len(teacher.taps)) for chosen in (searched, hub)],
            optimizer=Optimizer(optax.scale_by_adam(), optax.constant_schedule(0.004)),
        )


def rows_at(first, count):
    return (np.arange(first, first + count)[:, None] % 8 * BATCH + np.arange(BATCH)).astype(np.int32)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "trades"])
def test_five_arms_end_where_each_ends_alone(tiny, method):
    """No distillation, KL, attention with one choice of tutors and with another, both terms."""
    searched, hub = tiny.tutors
    arms = [(0.0, 0.0, None), (0.0, 1.0, None), (1.0, 0.0, searched), (0.3, 0.0, hub), (1.0, 1.0, searched)]

    def make(gamma, kl_weight, tutors):
        objective = Objective(method, 0.1, 0.05, 2, gamma=gamma, kl_weight=kl_weight, size=4)
        teacher = tiny.teacher if objective.needs_teacher else None
        augmentation = steps.Augmentation(1, True)
        return steps.TrainStep(tiny.model, objective, augmentation, tiny.optimizer, teacher=teacher, tutors=tutors)

    def trained(step, state, networks=()):
        run = steps.run_steps(step, steps.TRAIN_METRICS, networks=networks)
        state, teacher = replicate((state, tiny.teacher_variables))
        block, root = tiny.loader.dispatch(0, STEPS), jax.random.key(3)
        return jax.device_get(run(state, *block, np.int32(STEPS), teacher, root))

    with jax.enable_x64(True):
        start = jax.device_get(State.create(tiny.variables, tiny.optimizer))
        tutors, rows = index_tutors([own for *_, own in arms])
        terms = ArmTerms(*(np.array(each) for each in list(zip(*arms, strict=True))[:2]), rows)
        stacked = dataclasses.replace(steps.stacked([start] * 5, (5,)), arm=terms)
        together, sums = trained(steps.side_by_side(make(1.0, 1.0, tutors), apart=True), stacked, (5,))
        for row, (arm, found) in enumerate(zip(arms, steps.unstacked(together, (5,)), strict=True)):
            expected, expected_sums = trained(make(*arm), start)
            # Rounding is 1e-16, times what 50 steps make of it; weights move by 0.1.
            chex.assert_trees_all_close(found, expected, atol=1e-7, rtol=1e-7)
            assert expected.step == STEPS and max(map(np.max, map(np.abs, moved(start, expected)))) > 0.05
            taught = {"kl": arm[1], "attention": arm[0]}
            for name, total in expected_sums.items():
                if taught.get(name, 1.0):  # a term of weight 0 is reported, but adds nothing
                    np.testing.assert_allclose(sums[name][row], total, rtol=1e-5, err_msg=name)


def moved(before, after):
    return jax.tree.leaves(optax.tree.sub(after.params, before.params))


# -- seeds, and what is shared: the smallest study ------------------------------------------------------


def arm_step(study, teacher=None):
    """The step of arms with both terms, by SGD: Adam would turn rounding errors into whole steps."""
    tutors, _ = index_tutors([FixedTutors(study.student.taps, (tap,), 2) for tap in study.teacher_taps])
    return dataclasses.replace(
        study.train_step(study.objective("none")), teacher=teacher or study.teacher, tutors=tutors
    )


ARMS = ArmTerms(np.float32([[1, 0], [1, 0.5]]), np.float32([[0, 1], [1, 0]]), np.array([[[0], [0]], [[1], [0]]]))
SEEDS = (7, 8)


def test_seeds_have_their_own_images_and_keys(study):
    """Two seeds of two arms: rows [.., 2, n] and a root each."""
    orders = [study.rows_at, lambda first, count: study.rows_at(first + 3, count)]
    roots = jnp.stack([jax.random.key(seed) for seed in SEEDS])
    starts = [study.train_state(seed) for seed in range(4)]
    state = dataclasses.replace(steps.stacked(starts, (2, 2)), arm=ARMS)
    step = steps.over_seeds(steps.side_by_side(arm_step(study), apart=True), cached_teacher=False)
    run = steps.run_steps(step, steps.TRAIN_METRICS, networks=(2, 2))
    loader = study.loader(lambda first, count: np.stack([order(first, count) for order in orders], axis=1))

    def trained(run, state, loader, root):
        state, teacher = replicate((state, study.teacher_variables))
        return jax.device_get(run(state, *loader.dispatch(0, 4), np.int32(4), teacher, root))

    together, sums = trained(run, state, loader, roots)
    assert together.step == 4 and sums["loss"].shape == (2, 2)
    np.testing.assert_array_equal(sums["nonfinite_step"], steps.NEVER)
    alone = steps.run_steps(arm_step(study), steps.TRAIN_METRICS)
    for number, at in enumerate(np.ndindex(2, 2)):
        own = dataclasses.replace(starts[number], arm=jax.tree.map(lambda leaf, at=at: leaf[at], ARMS))
        expected, expected_sums = trained(alone, own, study.loader(orders[at[0]]), jax.random.key(SEEDS[at[0]]))
        found = steps.unstacked(together, (2, 2))[number]
        chex.assert_trees_all_close(found, dataclasses.replace(expected, arm=None), atol=2e-5, rtol=1e-4)
        for name, total in expected_sums.items():
            np.testing.assert_allclose(sums[name][at], total, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_teacher_sees_a_batch_once_whatever_the_number_of_arms(study, seeds):
    @jax.jit
    def marked_teacher(variables, images):
        return study.teacher(variables, images)

    step = steps.side_by_side(arm_step(study, marked_teacher), apart=True)
    images, labels = study.batch(0, 1)
    state, root = steps.stacked([study.train_state()] * 2, (2,)), study.root
    state = dataclasses.replace(state, arm=jax.tree.map(lambda leaf: leaf[0], ARMS))
    if seeds > 1:
        step, state = steps.over_seeds(step, cached_teacher=False), steps.stacked([state] * seeds, (seeds,))
        images, labels = (np.repeat(each[:, None], seeds, axis=1) for each in (images, labels))
        root = jnp.stack([root] * seeds)
    lowered = jax.jit(study.over_replicas(step)).lower(state, images, labels, study.teacher_variables, root)
    (arguments,) = re.findall(r"func private @marked_teacher\w*\((.*?)\) ->", lowered.as_text())
    seen = re.findall(r"tensor<([\dx]+)xf32>", arguments)[-1]
    assert np.prod([int(axis) for axis in seen.split("x")]) == images.size  # not twice as many, for two arms


def test_a_term_of_weight_0_adds_exactly_nothing(study):
    """To the gradient, whatever tutors there are."""
    step = jax.jit(study.over_replicas(arm_step(study)))
    state = study.train_state()
    ends = []
    for tutor in (0, 1):
        arm = ArmTerms(np.float32(0), np.float32(0), np.array([tutor]))
        state = study.train_state().replace(arm=arm)
        ends.append(step(state, *study.batch(0, 1), study.teacher_variables, study.root)[0])
    chex.assert_trees_all_equal(ends[0].params, ends[1].params)
    alone = study.train_step(study.objective("none", gamma=0.0, kl_weight=0.0))
    expected, _ = jax.jit(study.over_replicas(alone))(study.train_state(), *study.batch(0, 1), None, study.root)
    chex.assert_trees_all_close(ends[0].params, expected.params, atol=1e-7, rtol=1e-6)


def test_rows_of_several_choices_of_tutors():
    one, other = (FixedTutors(("a", "b", "c"), chosen, 9) for chosen in (("y", "x", "y"), ("x", "z", "z")))
    tutors, rows = index_tutors([None, one, other])
    assert tutors.teacher_taps == ("y", "x", "z") and tutors.available == 9 and tutors.rows is None
    np.testing.assert_array_equal(rows, [[0, 1, 0], [0, 1, 0], [1, 2, 2]])


def test_states_come_back_from_a_stack(study):
    states = [study.train_state(seed) for seed in range(6)]
    stacked = steps.stacked(states, (2, 3))
    assert stacked.step.shape == () and jax.tree.leaves(stacked.params)[0].shape[:2] == (2, 3)
    for found, expected in zip(steps.unstacked(stacked, (2, 3)), states, strict=True):
        chex.assert_trees_all_equal(found, expected)
        chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
