"""The order of images is a function of (seed, step), a permutation each epoch."""

import numpy as np
import pytest

from rnas.data.sampler import Sampler, permutation

ROWS = np.arange(100, 123)  # 23 rows: 4 batches of 5, 3 dropped


def test_rows_at_any_step_equals_the_uninterrupted_run():
    whole = Sampler(ROWS, 5, seed=3).rows_at(0, 13)
    assert whole.shape == (13, 5) and whole.dtype == np.int32
    for first in range(13):
        for count in range(14 - first):
            np.testing.assert_array_equal(Sampler(ROWS, 5, seed=3).rows_at(first, count), whole[first:][:count])


def test_an_order_may_be_asked_backwards():
    order = Sampler(ROWS, 5, seed=3)
    forwards = [order.rows_at(step, 1) for step in range(12)]
    backwards = [order.rows_at(step, 1) for step in reversed(range(12))]
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_no_row_comes_twice_in_an_epoch_and_epochs_differ():
    order = Sampler(ROWS, 5, seed=0)
    assert order.steps_per_epoch == 4
    epochs = order.rows_at(0, 12).reshape(3, 20)
    for rows in epochs:
        assert len(set(rows)) == 20 and set(rows) <= set(ROWS)
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()


def test_the_last_batch_of_an_epoch_is_filled_up():
    """An epoch then has every row once: 23 in 4 batches of 5 and one of 3. The batches before it stay as they are."""
    order = Sampler(ROWS, 5, seed=0, keep_last=True)
    assert order.steps_per_epoch == 5
    for epoch in range(3):
        batches = order.rows_at(5 * epoch, 5)
        np.testing.assert_array_equal(batches[:4], Sampler(ROWS, 5, seed=0).rows_at(4 * epoch, 4))
        assert sorted(batches.ravel()) == [-1, -1, *ROWS] and (batches[4, 3:] == -1).all()
    assert Sampler(ROWS[:20], 5, seed=0, keep_last=True).steps_per_epoch == 4
    published = [Sampler(np.arange(images), 256, seed=0, keep_last=True) for images in (50_000, 151_700)]
    assert [order.steps_per_epoch for order in published] == [196, 593]  # of NAS-RobBench-201


def test_every_row_is_visited_over_the_epochs():
    assert set(Sampler(ROWS, 5, seed=0).rows_at(0, 40).ravel()) == set(ROWS)


def test_seeds_differ():
    assert (Sampler(ROWS, 5, seed=0).rows_at(0, 4) != Sampler(ROWS, 5, seed=1).rows_at(0, 4)).any()


def test_permutation_sorts_the_raw_stream_of_philox():
    raw = np.random.Philox(key=np.array([7, 2], np.uint64)).random_raw(50).tolist()
    assert permutation(50, 7, 2).tolist() == sorted(range(50), key=raw.__getitem__)


def test_first_places_are_uniform():
    first = [permutation(8, seed, 0)[0] for seed in range(4000)]
    counts = np.bincount(first, minlength=8)
    chi_square = ((counts - 500) ** 2 / 500).sum()
    assert chi_square < 24.3  # 99.9 % quantile for 7 degrees of freedom


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ROWS, 24, 0), "only 23 images"),
        ((ROWS, 0, 0), "batch_size=0"),
        ((ROWS[:, None], 5, 0), "expected \\[N\\] integers"),
        ((ROWS / 2, 5, 0), "expected \\[N\\] integers"),
        ((ROWS, 5, -1), "seed=-1"),
        ((ROWS, 5, 0.5), "seed=0.5"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sampler(*arguments)


def test_negative_step_is_refused():
    with pytest.raises(ValueError, match="first_step=-1"):
        Sampler(ROWS, 5, 0).rows_at(-1, 2)
