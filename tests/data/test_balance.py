"""Equal numbers of every class, fixed by the seed."""

import numpy as np
import pytest

from rnas.data.balance import balanced_rows, stratified_rows

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 30, 20]))


@pytest.mark.parametrize(("count", "expected"), [(0, [0, 0, 0]), (30, [10, 10, 10]), (32, [11, 11, 10])])
def test_classes_are_balanced(count, expected):
    rows = balanced_rows(LABELS, count, num_classes=3, seed=0)
    assert np.bincount(LABELS[rows], minlength=3).tolist() == expected
    assert (np.diff(rows) > 0).all()


def test_the_seed_decides():
    chosen = [balanced_rows(LABELS, 30, num_classes=3, seed=seed).tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_every_row_is_as_likely_as_the_others_of_its_class():
    times = np.zeros(len(LABELS))
    for seed in range(600):
        times[balanced_rows(LABELS, 30, num_classes=3, seed=seed)] += 1
    expected = 600 * 10 / np.array([40, 30, 20])[LABELS]
    spread = np.sqrt(expected * (1 - expected / 600))
    assert np.abs(times - expected).max() < 4.5 * spread.max()


@pytest.mark.parametrize("count", [60, 90, 1000])
def test_the_smallest_class_limits_the_count(count):
    with pytest.raises(ValueError, match="class 2, but the class has 20 .* at most 57"):
        balanced_rows(LABELS, count, num_classes=3, seed=0)
    assert len(balanced_rows(LABELS, 57, num_classes=3, seed=0)) == 57


def test_negative_count_is_refused():
    with pytest.raises(ValueError, match="-1 images"):
        balanced_rows(LABELS, -1, num_classes=3, seed=0)


@pytest.mark.parametrize(
    ("share", "left", "expected"),
    [(0.2, 1, [8, 6, 4]), (0.01, 1, [1, 1, 1]), (0.98, 3, [37, 27, 17]), (1 / 3, 2, [13, 10, 7])],
)
def test_a_share_of_every_class(share, left, expected):
    rows = stratified_rows(LABELS, share, num_classes=3, left=left, seed=0)
    assert np.bincount(LABELS[rows]).tolist() == expected and (np.diff(rows) > 0).all()
    assert rows.tolist() == stratified_rows(LABELS, share, num_classes=3, left=left, seed=0).tolist()
    assert rows.tolist() != stratified_rows(LABELS, share, num_classes=3, left=left, seed=1).tolist()


def test_a_class_without_rows_to_leave_is_refused():
    with pytest.raises(ValueError, match="class 2 has 20 images, and 20 of it are to be left"):
        stratified_rows(LABELS, 0.2, num_classes=3, left=20, seed=0)
