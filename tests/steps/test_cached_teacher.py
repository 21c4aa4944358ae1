"""Steps with cached teacher outputs equal steps with the teacher itself."""

import copy
import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import objectives, steps
from rnas.steps.optimizer import Optimizer
from rnas.training.checkpoints import Checkpoints
from rnas.training.loaders import CachedTeacherLoader, ResidentLoader, replicate
from rnas.training.metrics_log import MetricsLog
from rnas.training.trainer import Plan, Trainer

PLAIN = steps.Augmentation(0, False)
VIEWS = steps.Views(steps.Augmentation(1, True), seed=3, count=3)
METRICS = {"train": steps.TRAIN_METRICS, "search": steps.WidthSearchStep.metrics}
STEP = 6  # the second of the second epoch: view 1
# With this optimiser a step subtracts the gradient.
DESCENT = Optimizer(optax.identity(), optax.constant_schedule(1.0))


@pytest.fixture(scope="module")
def cached(study):
    """Outputs of the study's teacher for all views, [views, images, ...]."""
    program = steps.run_teacher_on_views(study.teacher, VIEWS, study.teacher_taps, 4)
    rows = np.arange(40, dtype=np.int32).reshape(4, 10)
    outputs = [program(study.teacher_variables, study.images[rows], rows, view) for view in range(VIEWS.count)]
    return jax.tree.map(
        lambda *leaves: np.stack([np.asarray(leaf).reshape(40, *leaf.shape[2:]) for leaf in leaves]), *outputs
    )


def shown(study, view):
    """All images of the study as a view shows them."""
    return np.asarray(VIEWS.show(study.images, view, np.arange(40)))


@pytest.fixture(scope="module")
def from_cache(study, cached):
    """(kind, resident) → (state, dispatch, loader, what the loop passes on) of steps with a cached teacher."""

    @functools.cache
    def made(kind, resident):
        cached_teacher = steps.CachedTeacher(VIEWS, study.steps_per_epoch, study.teacher_taps)
        student = copy.copy(study)
        student.teacher = cached_teacher.apply
        step = getattr(student, f"{kind}_step")(optimizer=DESCENT, augmentation=PLAIN)

        def read(step, rows):
            return jax.tree.map(lambda leaf: leaf[step // study.steps_per_epoch % VIEWS.count, rows], cached)

        loader = CachedTeacherLoader(study.loader(), None if resident else read)
        run = steps.run_steps(step, METRICS[kind], cached_teacher=cached_teacher)
        return getattr(study, f"{kind}_state")(optimizer=DESCENT), run, loader, cached if resident else None

    return made


def with_cache(study, made, first=STEP, count=1):
    """(state, metric sums) after `count` steps with a cached teacher."""
    state, run, loader, variables = made
    block = loader.dispatch(first, count)
    state, variables = replicate((state.replace(step=np.array(first, np.int32)), variables))
    return jax.device_get(run(state, *block, np.int32(count), variables, study.root))


def live(study, kind, views):
    """(state, metric sums) of the same step with the teacher itself, on images that are augmented already, by view."""
    step = getattr(study, f"{kind}_step")(optimizer=DESCENT, augmentation=PLAIN)
    run = steps.run_steps(step, METRICS[kind])
    sizes = dict(batch_size=study.batch_size, most=study.most, what="batch_size")
    feeds = [ResidentLoader(shown(study, view), study.labels, study.rows_at, **sizes) for view in views]
    state = getattr(study, f"{kind}_state")(optimizer=DESCENT).replace(step=np.array(STEP, np.int32))
    return [study.run(run, state, 1, loader) for loader in feeds]


@pytest.mark.parametrize("kind", ["train", pytest.param("search", marks=pytest.mark.slow)])
def test_a_step_from_cache_is_the_step_with_the_teacher(study, from_cache, kind):
    state, sums = with_cache(study, from_cache(kind, True))
    (expected, expected_sums), (other, _) = live(study, kind, views=(1, 2))
    # Logits are kept as they are, maps with eleven bits.
    for name in expected_sums:
        np.testing.assert_allclose(sums[name], expected_sums[name], rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(sums["kl"], expected_sums["kl"], rtol=1e-5)
    distance, moved, unlike = (
        optax.tree.norm(optax.tree.sub(*pair))
        for pair in (
            (state.params, expected.params),
            (state.params, getattr(study, f"{kind}_state")(optimizer=DESCENT).params),
            (other.params, expected.params),
        )
    )
    assert distance < 1e-3 * moved, "up to float16"
    assert unlike > 30 * distance, "another view gives another step"


def test_a_step_without_a_teacher_sees_the_views_too(study):
    objective = study.objective("none", gamma=0.0, kl_weight=0.0)
    step = study.train_step(objective, optimizer=DESCENT, augmentation=PLAIN)
    state = study.train_state(optimizer=DESCENT)
    run = steps.run_steps(step, METRICS["train"], cached_teacher=steps.CachedTeacher(VIEWS, study.steps_per_epoch, ()))
    found, _ = with_cache(study, (state, run, CachedTeacherLoader(study.loader()), None))
    sizes = dict(batch_size=study.batch_size, most=study.most, what="batch_size")
    loader = ResidentLoader(shown(study, 1), study.labels, study.rows_at, **sizes)
    run = steps.run_steps(step, METRICS["train"])
    expected, _ = study.run(run, state.replace(step=np.array(STEP, np.int32)), 1, loader)
    chex.assert_trees_all_close(found, expected, atol=1e-6)
    assert optax.tree.norm(optax.tree.sub(found.params, state.params)) > 1e-3


def test_a_cache_on_the_device_and_off_it_are_the_same(study, from_cache):
    # From the first epoch into the second: two views.
    on, off = (with_cache(study, from_cache("train", resident), first=3, count=4) for resident in (True, False))
    chex.assert_trees_all_equal(on, off)


def test_a_loop_from_cache_goes_on_to_the_same_end(study, from_cache, tmp_path):
    """Eight steps at once, and in two goes that part in the middle of an epoch."""
    plan = Plan("train", 8, study.steps_per_epoch, log_every=4, checkpoint_every=4, validate_every=0, seed=1)

    def fitted(folder, total):
        state, run, loader, variables = from_cache("train", False)
        with Checkpoints(folder / "checkpoints") as checkpoints, MetricsLog(folder, "train") as log:
            trainer = Trainer(dataclasses.replace(plan, total=total), run, loader, checkpoints, log, variables)
            return trainer.fit(state)

    whole = fitted(tmp_path / "whole", 8)
    fitted(tmp_path / "parts", 6)
    chex.assert_trees_all_equal(fitted(tmp_path / "parts", 8), whole)


def test_views_depend_on_seed_view_and_row_alone(study):
    rows = np.array([7, 0, 31], np.int32)
    whole = [shown(study, view) for view in range(2)]
    np.testing.assert_array_equal(VIEWS.show(study.images[rows], 1, rows), whole[1][rows])
    assert np.any(whole[0] != whole[1], axis=(1, 2, 3)).mean() > 0.7
    reseeded = dataclasses.replace(VIEWS, seed=4).show(study.images, 0, np.arange(40))
    assert np.any(reseeded != whole[0], axis=(1, 2, 3)).mean() > 0.7
    # The same bytes elsewhere are cropped and mirrored otherwise.
    twice = np.asarray(VIEWS.show(np.repeat(study.images[:1], 40, axis=0), 0, np.arange(40)))
    assert len(np.unique(twice, axis=0)) > 8


def test_views_are_shown_in_turn():
    epochs = [int(VIEWS.at(step, 5)) for step in range(0, 40, 5)]
    assert epochs == [0, 1, 2, 0, 1, 2, 0, 1]
    assert int(VIEWS.at(4, 5)) == 0


@pytest.mark.parametrize("normalise", ["per_sample", "per_batch"])
def test_cached_outputs_have_the_maps_of_the_teacher(study, cached, normalise):
    cached_teacher = steps.CachedTeacher(VIEWS, 5, study.teacher_taps)
    outputs = jax.tree.map(lambda leaf: leaf[2, :8], cached)
    logits, out = cached_teacher.apply(outputs, None)
    assert list(out) == list(study.teacher_taps) and out["first"].shape == (8, 4, 4, 1)
    images = shown(study, 2)[:8] / np.float32(255)
    expected, taps = study.teacher(study.teacher_variables, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)
    found, wanted = (objectives.attention_maps(each, study.teacher_taps, 4, normalise) for each in (out, taps))
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-4)


def test_a_dead_tap_has_an_empty_map(study):
    def dead(variables, images):
        return jnp.zeros((len(images), 3)), {"tap": jnp.zeros((len(images), 6, 6, 2))}

    rows = np.arange(40, dtype=np.int32).reshape(4, 10)
    outputs = steps.run_teacher_on_views(dead, VIEWS, ("tap",), 4)({}, study.images[rows], rows, 0)
    assert np.all(outputs.maps == 0) and np.all(outputs.norms == 0)


def test_logits_alone_can_be_kept(study):
    rows = np.arange(40, dtype=np.int32).reshape(4, 10)
    outputs = steps.run_teacher_on_views(study.teacher, VIEWS, (), 0)(
        study.teacher_variables, study.images[rows], rows, 0
    )
    assert outputs.logits.shape == (4, 10, 4) and outputs.maps.size == 0
    logits, out = steps.CachedTeacher(VIEWS, 5, ()).apply(jax.tree.map(lambda leaf: leaf[0], outputs), None)
    assert logits.shape == (10, 4) and out == {}
