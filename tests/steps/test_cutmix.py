"""CutMix: boxes and labels in closed form, partners, and the step that mixes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import steps
from rnas.steps.cutmix import cutmix
from rnas.steps.optimizer import Optimizer

COUNT, SIDES = 256, (9, 14)
KEYS = jax.random.split(jax.random.key(0), COUNT)
LABELS = np.arange(COUNT, dtype=np.int32)
# Every pixel of an image names the image.
IMAGES = np.broadcast_to(LABELS[:, None, None, None], (COUNT, *SIDES, 2)).astype(np.float32)
mix = jax.jit(cutmix, static_argnums=3)


@pytest.fixture(scope="module")
def mixed():
    images, labels = jax.device_get(mix(KEYS, IMAGES, LABELS, 1.0))
    return images, labels, images[..., 0] != IMAGES[..., 0]


def test_the_area_of_the_box_is_what_the_label_loses(mixed):
    images, labels, inside = mixed
    np.testing.assert_allclose(inside.mean((1, 2)), 1 - labels.share, atol=1e-6)
    assert np.array_equal(images[..., 0], images[..., 1])
    assert 0 <= labels.share.min() < 0.3 and 0.9 < labels.share.max() <= 1


def test_pixels_and_label_of_the_box_are_the_neighbours(mixed):
    images, labels, inside = mixed
    partner = np.arange(COUNT) + 1 - 2 * (np.arange(COUNT) % 2)
    assert np.array_equal(labels.first, LABELS) and np.array_equal(labels.second, LABELS[partner])
    assert np.array_equal(images[..., 0], np.where(inside, partner[:, None, None], LABELS[:, None, None]))


def test_a_box_is_a_rectangle(mixed):
    for inside in mixed[2]:
        rows, columns = inside.any(1), inside.any(0)
        assert np.array_equal(inside, rows[:, None] & columns[None])
        for line in (rows, columns):
            assert np.abs(np.diff(np.r_[0, line.astype(int), 0])).sum() in (0, 2)


def test_soft_labels_sum_to_one(mixed):
    _, labels, _ = mixed
    soft = labels.share[:, None] * np.eye(COUNT)[labels.first]
    soft += (1 - labels.share)[:, None] * np.eye(COUNT)[labels.second]
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)


def test_some_images_are_left_alone():
    images, labels = jax.device_get(mix(KEYS, IMAGES, LABELS, 0.25))
    alone = labels.share == 1
    assert np.array_equal(images[alone], IMAGES[alone])
    assert 0.65 < alone.mean() < 0.9  # 3/4, and boxes of no pixel
    assert np.all(mix(KEYS[:2], IMAGES[:2], LABELS[:2], 0.0)[1].share == 1)


def test_areas_are_uniform():
    """A quarter of the boxes would keep more than 3/4 of the image, if none reached over the edge; so more do."""
    share = np.asarray(mix(KEYS, IMAGES, LABELS, 1.0)[1].share)
    assert 0.3 < np.mean(share > 0.75) < 0.6


def test_pairs_stand_alone_and_bytes_stay_bytes():
    whole, labels = mix(KEYS, IMAGES.astype(np.uint8), LABELS, 1.0)
    part, own = mix(KEYS[8:16], IMAGES[8:16].astype(np.uint8), LABELS[8:16], 1.0)
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole[8:16], part)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[8:16], labels), own)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_it_lowers_for_accelerators(platform):
    program = jax.jit(functools.partial(cutmix, probability=1.0))
    program.trace(KEYS, IMAGES, LABELS).lower(lowering_platforms=(platform,))


@pytest.mark.parametrize("method", ["none", pytest.param("pgd_at", marks=pytest.mark.slow)])
def test_a_step_mixes_by_its_own_keys_on_any_number_of_replicas(study, method):
    """Batch 0 on one replica and on four; another step draws other boxes, the same one the same."""
    descent = Optimizer(optax.identity(), optax.constant_schedule(1.0))
    step = study.train_step(study.objective(method, gamma=0.0, kl_weight=0.0, steps=1), descent)
    mixing = steps.TrainStep(step.model, step.objective, step.augmentation, descent, cutmix=1.0)
    run = jax.jit(study.over_replicas(mixing))
    before = study.train_state(optimizer=descent)
    one, four = (run(before, *study.batch(0, n), None, study.root) for n in (1, 4))
    chex.assert_trees_all_close(one, four, atol=1e-5, rtol=1e-4)
    chex.assert_trees_all_equal(one, run(before, *study.batch(0, 1), None, study.root))
    later = run(before.replace(step=jnp.int32(3)), *study.batch(0, 1), None, study.root)
    assert not np.allclose(later[1]["loss"], one[1]["loss"])
