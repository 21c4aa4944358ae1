"""Feeds: which images reach which device in which step."""

import jax
import numpy as np
import pytest

from rnas.data.sampler import Sampler
from rnas.objectives import Alternation
from rnas.training.loaders import ResidentLoader, StreamLoader, alternating_rows, per_device

IMAGES = np.arange(24, dtype=np.uint8).reshape(24, 1, 1, 1)
LABELS = np.arange(24, dtype=np.int32)


def sampler(rows=None, seed=5):
    return Sampler(np.arange(24) if rows is None else rows, 8, seed)


def test_a_batch_is_divided_among_four_devices():
    assert per_device(8, "train.batch_size") == 2


@pytest.mark.parametrize(("given", "use"), [(10, "8 or 12"), (3, "4 or 4"), (13, "12 or 16")])
def test_a_batch_that_cannot_be_divided_is_refused(given, use):
    with pytest.raises(ValueError, match=rf"search.batch_size = {given} .* 4 devices; use {use}"):
        per_device(given, "search.batch_size")
    with pytest.raises(ValueError, match="search.batch_size"):
        ResidentLoader(IMAGES, LABELS, sampler().rows_at, batch_size=given, most=3, what="search.batch_size")


def test_a_dispatch_holds_the_rows_of_its_steps_in_order():
    loader = ResidentLoader(IMAGES, LABELS, sampler().rows_at, batch_size=8, most=5, what="batch_size")
    block = loader.dispatch(2, 3)  # over the end of an epoch
    np.testing.assert_array_equal(block.images, IMAGES)
    np.testing.assert_array_equal(block.labels, LABELS)
    assert block.rows.shape == (4, 5, 2) and block.rows.dtype == np.int32
    for offset, expected in enumerate(sampler().rows_at(2, 3)):
        # Device d holds positions 2d and 2d + 1 of the batch.
        np.testing.assert_array_equal(block.rows[:, offset].reshape(-1), expected)


def test_images_travel_to_the_devices_once():
    loader = ResidentLoader(IMAGES, LABELS, sampler().rows_at, batch_size=8, most=5, what="batch_size")
    first, second = loader.dispatch(0, 1), loader.dispatch(1, 1)
    assert first.images is second.images and first.images.sharding.device_set == set(jax.devices())
    assert first.rows.shape == second.rows.shape


def test_rows_of_a_resident_set_are_a_function_of_the_step():
    loader = ResidentLoader(IMAGES, LABELS, sampler().rows_at, batch_size=8, most=5, what="batch_size")
    before = loader.dispatch(1, 2).rows
    loader.dispatch(5, 1)
    np.testing.assert_array_equal(loader.dispatch(1, 2).rows, before)


@pytest.mark.parametrize("warmup", [0, 2])
def test_disjoint_rows_never_meet(warmup):
    alternation = Alternation(5, 0.4, warmup)
    weights, architecture = Sampler(np.arange(0, 14), 2, 1), Sampler(np.arange(14, 24), 2, 1)
    rows_at = alternating_rows(alternation, weights, architecture)
    rows = rows_at(0, 100)
    kinds = np.array([alternation.is_weight_step(step) for step in range(100)])
    assert set(rows[kinds].flat) == set(range(14)) and set(rows[~kinds].flat) == set(range(14, 24))
    # Each kind goes through its own order without a gap or a repetition.
    np.testing.assert_array_equal(rows[kinds], weights.rows_at(0, kinds.sum()))
    np.testing.assert_array_equal(rows[~kinds], architecture.rows_at(0, (~kinds).sum()))


def test_disjoint_rows_are_a_function_of_the_step():
    rows_at = alternating_rows(Alternation(5), sampler(np.arange(16)), sampler(np.arange(16, 24)))
    whole = rows_at(0, 23)
    for first in range(20):
        np.testing.assert_array_equal(rows_at(first, 3), whole[first : first + 3])


def numbered(step):
    """A stream of numbered batches of 8 from a step on."""
    while True:
        images = np.full((8, 1, 1, 1), step, np.uint8) + 10 * np.arange(8, dtype=np.uint8)[:, None, None, None]
        yield {"image": images, "label": np.arange(8, dtype=np.int32)}
        step += 1


def test_a_stream_is_cut_into_blocks_of_devices():
    loader = StreamLoader(numbered, batch_size=8, what="batch_size")
    assert loader.most == 1
    loader.dispatch(0, 1)
    block = loader.dispatch(1, 1)
    assert block.images.shape == (4, 2, 1, 1, 1) and block.rows.shape == (4, 1, 2)
    np.testing.assert_array_equal(block.images.reshape(-1), 1 + 10 * np.arange(8))
    np.testing.assert_array_equal(block.labels.reshape(-1), np.arange(8))
    np.testing.assert_array_equal(block.rows[:, 0], np.tile([0, 1], (4, 1)))


def test_a_stream_is_opened_once_and_where_the_state_is():
    opened = []

    def open_at(step):
        opened.append(step)
        return numbered(step)

    loader = StreamLoader(open_at, batch_size=8, what="batch_size")
    for step in (3, 4, 5):
        assert loader.dispatch(step, 1).images.min() == step
    assert opened == [3]
