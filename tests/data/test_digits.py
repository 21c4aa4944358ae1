"""The embedded digits: complete, split once, prepared quietly and only once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds

from rnas.data.digits import SHIPPED, prepare_digits


def test_the_set_is_that_of_scikit_learn(digits_dir):
    original = pytest.importorskip("sklearn.datasets", reason="the set is compared with it").load_digits()
    seen = []
    for split, count in (("train", 1437), ("test", 360)):
        source = tfds.data_source("digits", split=split, data_dir=str(digits_dir), download=False)
        assert len(source) == count
        for example in source:
            row = example["id"]
            seen.append(int(row))
            assert example["label"] == original.target[row]
            # Grey level 16 is white: the two scales differ by 255/16, up to the rounding to a byte.
            difference = example["image"][..., 0] - original.images[row] * 255 / 16
            assert np.abs(difference).max() <= 0.5
    assert sorted(seen) == list(range(1797))


def test_the_set_has_the_published_counts():
    """Of the description of the set at the UCI repository: images of each class in its test part."""
    with np.load(SHIPPED) as arrays:
        assert np.bincount(arrays["labels"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
        assert arrays["images"].shape == (1797, 8, 8) and (arrays["images"].min(), arrays["images"].max()) == (0, 16)


def test_each_class_has_36_test_images(digits_dir):
    source = tfds.data_source("digits", split="test", data_dir=str(digits_dir), download=False)
    assert np.bincount([example["label"] for example in source]).tolist() == [36] * 10


def test_preparing_writes_once_and_prints_nothing(tmp_path, capfd):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(prepare_digits, [tmp_path, tmp_path]))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    prepare_digits(tmp_path)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {path.name for path in tmp_path.iterdir()} == {"digits", ".digits.lock"}
    assert capfd.readouterr() == ("", "")


def test_a_read_only_folder_is_left_alone(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(ValueError, match="cannot be written"):
        prepare_digits(tmp_path)
    tmp_path.chmod(0o755)
    assert not list(tmp_path.iterdir())
