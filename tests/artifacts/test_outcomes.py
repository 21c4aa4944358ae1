"""Outcomes image by image: files of them, and which of them can be compared."""

import numpy as np
import pytest

from rnas.artifacts.files import write_arrays
from rnas.artifacts.outcomes import Outcomes, measurement

IDS, LABELS = np.array([7, 2, 5]), np.array([1, 0, 1], np.int32)
RIGHT = {"clean": np.array([True, True, False]), "pgd_100@8/255": np.array([True, False, False])}
OUTCOMES = Outcomes(IDS, LABELS, RIGHT)


def test_outcomes_are_read_as_they_were_written(tmp_path):
    OUTCOMES.write(tmp_path / "student.npz")
    found = Outcomes.read(tmp_path / "student.npz")
    np.testing.assert_array_equal([found.ids, found.labels], [IDS, LABELS])
    assert list(found.right) == ["clean", measurement("pgd_100", "8/255")]
    for name, array in found.right.items():
        assert array.dtype == bool
        np.testing.assert_array_equal(array, RIGHT[name])


def test_the_same_outcomes_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        OUTCOMES.write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"ids": IDS}, "lacks labels"),
        ({"ids": IDS, "labels": LABELS[:2]}, r"ids int64 \[3\], labels int32 \[2\]; expected an id and a label"),
        ({"ids": IDS, "labels": LABELS, "clean": np.ones(3)}, r"clean float64 \[3\]; expected"),
        ({"ids": IDS, "labels": LABELS, "clean": np.ones(4, bool)}, r"clean bool \[4\]; expected"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, said):
    write_arrays(tmp_path / "model.npz", arrays)
    with pytest.raises(ValueError, match=said) as error:
        Outcomes.read(tmp_path / "model.npz")
    assert "model.npz" in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="absent.npz cannot be read"):
        Outcomes.read(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("ids", "labels", "common"),
    [(IDS[::-1], LABELS[::-1], 3), (IDS[:2], LABELS[:2], 2), (IDS, 1 - LABELS, 3), (IDS + 10, LABELS, 0)],
)
def test_other_images_are_no_comparison(ids, labels, common):
    OUTCOMES.check_same_images(Outcomes(IDS.copy(), LABELS.astype(int), {}))
    with pytest.raises(ValueError, match=f"a and b were judged on other images: 3 and .* {common} ids in common"):
        OUTCOMES.check_same_images(Outcomes(ids, labels, {}), "a and b")


def test_examples_of_the_suite_join(tmp_path):
    examples = {"id": IDS, "label": LABELS, "clean_correct": np.array([True, True, False])}
    examples["fooled_by"] = np.array(["", "square", ""])
    found = OUTCOMES.with_examples("auto_attack@8/255", examples)
    assert found.right["auto_attack@8/255"].tolist() == [True, False, False]
    assert list(found.right) == [*RIGHT, "auto_attack@8/255"] and list(OUTCOMES.right) == list(RIGHT)
    with pytest.raises(ValueError, match="the run and auto_attack@8/255 were judged on other images"):
        OUTCOMES.with_examples("auto_attack@8/255", examples | {"id": IDS + 1})
    with pytest.raises(ValueError, match="examples of auto_attack lack fooled_by"):
        OUTCOMES.with_examples("auto_attack", {name: examples[name] for name in ("id", "label", "clean_correct")})
