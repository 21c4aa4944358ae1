"""The table of an evaluation: what each column holds, and that it is written as it is."""

import csv

import numpy as np
import pytest

from rnas.artifacts.attack import FoolingImages
from rnas.attacks.result import AttackResult
from rnas.data.datasets import Split
from rnas.evaluation.examples import Examples

COUNT = 6
CLEAN = np.random.default_rng(0).integers(0, 256, (COUNT, 2, 3, 1), np.uint8)
PIXELS = CLEAN.astype(np.float32) / np.float32(255)


@pytest.fixture
def examples():
    """Row 1 is wrong from the start; the others are attacked below."""
    split = Split(CLEAN, np.array([0, 1, 2, 0, 1, 2]), np.arange(COUNT) + 100)
    clean = {
        "prediction": np.array([0, 2, 2, 0, 1, 2]),
        "margin": np.array([1, -0.5, 2, 3, 4, 5], np.float64),
        "wrong": np.array([0, 1, 0, 0, 0, 0]),
    }
    return Examples(split, clean, ("pgd", "square"))


def result(success, loss, queries):
    success = np.array(success, bool)
    return AttackResult(None, success, np.array(loss, np.float32), np.array(queries, np.int32), success)


def test_attacks_are_noted_part_by_part(examples):
    examples.add("pgd", np.array([0, 2, 3, 4, 5]), result([1, 0, 0, 0, 0], [3, 1, np.nan, 0, -1], [2] * 5), [0])
    examples.add("pgd", np.array([2, 3, 4, 5]), result([1, 0, 0, 0], [0.5, 7, 0.5, -2], [3] * 4), [2])
    # Attacks everybody, and finds row 0 once more and row 3 anew.
    examples.add("square", np.array([0, 2, 3, 4, 5]), result([1, 0, 1, 0, 0], [1] * 5, [9] * 5), [3])
    assert examples.fooled_by.tolist() == ["pgd", "", "pgd", "square", "", ""]
    np.testing.assert_array_equal(examples.success["pgd"], [1, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(examples.success["square"], [1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(examples.loss["pgd"], [3, np.nan, 1, 7, 0.5, -1])
    np.testing.assert_array_equal(examples.queries_of["pgd"], [2, 0, 5, 5, 5, 5])
    np.testing.assert_array_equal(examples.with_gradients(examples.success), [1, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(examples.with_gradients(examples.queries_of), [1, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(examples.clean_wrong, [0, 1, 0, 0, 0, 0])


def test_square_alone_uses_no_gradients(examples):
    examples.add("square", np.array([0]), result([1], [1], [9]), [0])
    assert not any(examples.with_gradients(column).any() for column in (examples.queries_of, examples.success))


def test_distances_are_those_of_every_norm():
    clean = np.zeros((2, 1, 2, 1), np.float32)
    found = Examples.lengths(np.array([[0.3, -0.4], [0, 0.5]], np.float32).reshape(clean.shape), clean)
    expected = {"linf": [0.4, 0.5], "l2": [0.5, 0.5], "l1": [0.7, 0.5]}
    assert found.keys() == expected.keys()
    for norm, length in expected.items():
        np.testing.assert_allclose(found[norm], length, rtol=1e-7)
    assert all(len(length) == 0 for length in Examples.lengths(clean[:0], clean[:0]).values())


def test_files_hold_the_same_table(examples, tmp_path):
    examples.add("pgd", np.array([0, 2, 3, 4, 5]), result([1, 0, 0, 1, 0], np.arange(5) / 7, [20] * 5), [0, 4])
    images = PIXELS.copy()
    images[[0, 4]] = 1 - images[[0, 4]]
    judged = {"prediction": np.array([1, 2, 2, 0, 0, 2]), "margin": np.array([-1, -0.5, 2, 3, -0.1, 5])}
    examples.write(tmp_path / "new", images, judged)

    with np.load(tmp_path / "new" / "examples.npz", allow_pickle=False) as file:
        arrays = dict(file)
    with open(tmp_path / "new" / "examples.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(arrays) == list(table[0]) and len(table) == COUNT
    for name, column in arrays.items():
        texts = [row[name] for row in table]
        if column.dtype == bool:
            assert texts == [str(bool(value)) for value in column], name
        elif column.dtype.kind == "U":
            assert texts == column.tolist(), name
        else:
            np.testing.assert_array_equal(np.array(texts, np.float64).astype(column.dtype), column, err_msg=name)
    # An attack without examples has its columns too.
    assert not arrays["success_square"].any() and np.isnan(arrays["loss_square"]).all()
    np.testing.assert_array_equal(arrays["id"], np.arange(COUNT) + 100)
    np.testing.assert_array_equal(arrays["index"], np.arange(COUNT))
    np.testing.assert_array_equal(arrays["clean_correct"], [1, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(arrays["adversarial_prediction"], judged["prediction"])
    assert arrays["distance_linf"][[1, 2, 3, 5]].tolist() == [0] * 4
    assert arrays["distance_linf"][0] == abs(images[0] - PIXELS[0]).max()

    stored = FoolingImages.read(tmp_path / "new" / "adversarial.npz")
    assert stored.row.tolist() == [0, 4] and stored.images.dtype == np.float32
    np.testing.assert_array_equal(stored.images, images[[0, 4]])
    np.testing.assert_array_equal(stored.clean, PIXELS[[0, 4]])
