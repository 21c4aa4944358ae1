"""Further training images: which are taken, under which label, and their share of every batch."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from rnas.data.datasets import load_dataset
from rnas.data.extra_images import load_extra
from rnas.data.sampler import MixedSampler, Sampler
from rnas.data.writer import write_set

NAMES = ("T-shirt", "Ankle boot", "bag")


def write(folder, name, images, labels, names, part="train"):
    feature = tfds.features.Tensor(shape=images.shape[1:], dtype=np.uint8)
    examples = (
        (row, {"image": image, "label": int(label)})
        for row, (image, label) in enumerate(zip(images, labels, strict=True))
    )
    parts = {part: examples}
    if part == "all":
        half = len(labels) // 2
        cut = {"train": range(half), "test": range(half, len(labels))}
        parts = {
            split: ((row, {"image": images[row], "label": int(labels[row])}) for row in rows)
            for split, rows in cut.items()
        }
    classes = tfds.features.ClassLabel(names=list(names))
    write_set(
        folder, name, version="1.0.0", description="a test", features={"image": feature, "label": classes}, parts=parts
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("extra")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (60, 5, 5, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(folder, images):
    """30 images that train or are held out, 30 that test."""
    write(folder, "own", images, np.arange(60) % 3, NAMES, "all")
    return load_dataset("own", data_dir=folder, held_out=6, seed=0)


def test_classes_go_by_their_names(folder, dataset):
    fresh = np.random.default_rng(1).integers(0, 256, (12, 5, 5, 1)).astype(np.uint8)
    theirs = ("hat", "Bag", "ankle_boot", "t shirt")
    write(folder, "named", fresh, np.arange(12) % 4, theirs)
    found = load_extra("named", dataset, data_dir=folder)
    expected = {image.tobytes(): {1: 2, 2: 1, 3: 0}.get(row % 4) for row, image in enumerate(fresh)}
    assert len(found.images) == 9
    for image, label in zip(found.images.images, found.images.labels, strict=True):
        assert expected[image.tobytes()] == label
    assert found.fingerprint["left_out"] == {"other classes": 3, "held out or test": 0, "training": 0}
    assert found.fingerprint["count"] == 9 and found.fingerprint["name"].startswith("named")


def test_what_judges_does_not_train(folder, dataset, images):
    """The same set again: nothing of it is new, and no image of it that is held out or tests slips through."""
    fresh = np.random.default_rng(2).integers(0, 256, (5, 5, 5, 1)).astype(np.uint8)
    both = np.concatenate([images, fresh])
    write(folder, "again", both, np.arange(65) % 3, ("0", "1", "2"))  # numbers: by number
    found = load_extra("again", dataset, data_dir=folder)
    assert {image.tobytes() for image in found.images.images} == {image.tobytes() for image in fresh}
    assert found.fingerprint["left_out"] == {"other classes": 0, "held out or test": 36, "training": 24}


def test_a_set_that_does_not_fit(folder, dataset, images):
    write(folder, "large", np.zeros((3, 6, 5, 1), np.uint8), [0, 1, 2], NAMES)
    with pytest.raises(ValueError, match=r"has images of \(6, 5, 1\), 'own' of \(5, 5, 1\)"):
        load_extra("large", dataset, data_dir=folder)
    write(folder, "other", images[:4], [0, 1, 2, 3], ("bag", "hat", "shoe", "shirt"))
    with pytest.raises(ValueError, match="but not T-shirt, Ankle boot: expected those of 'own'"):
        load_extra("other", dataset, data_dir=folder)
    write(folder, "tested", images[:4], [0, 1, 2, 0], NAMES, "test")
    with pytest.raises(ValueError, match="has no train part"):
        load_extra("tested", dataset, data_dir=folder)
    write(folder, "known", images[:4], [0, 1, 2, 0], NAMES)
    with pytest.raises(ValueError, match="of 4 images .* none may train"):
        load_extra("known", dataset, data_dir=folder)


def test_shares_of_a_batch_are_exact_and_even():
    own, extra = Sampler(np.arange(50), 6, 0), Sampler(50 + np.arange(30), 14, 1)
    mixed = MixedSampler(own, extra)
    rows = mixed.rows_at(0, 40)
    assert rows.shape == (40, 20) and np.array_equal((rows >= 50).sum(1), np.full(40, 14))
    places = np.flatnonzero((rows >= 50).all(0))
    assert len(places) == 14 and np.array_equal((rows >= 50).any(0).nonzero()[0], places)
    for parts in (2, 4, 5):  # devices: as many each, but for one
        counts = (rows[0] >= 50).reshape(parts, -1).sum(1)
        assert counts.max() - counts.min() <= 1


def test_both_go_through_all_their_rows_and_resume_anywhere():
    mixed = MixedSampler(Sampler(np.arange(48), 6, 0), Sampler(48 + np.arange(28), 14, 1))
    rows = mixed.rows_at(0, 8)
    assert np.array_equal(np.sort(rows[rows < 48]), np.arange(48))
    assert np.array_equal(np.sort(rows[:2][rows[:2] >= 48]), 48 + np.arange(28))
    assert np.array_equal(mixed.rows_at(3, 4), rows[3:7])
