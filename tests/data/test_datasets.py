"""Datasets: parts, fingerprint, mistakes; TensorFlow is never touched."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from rnas.data import load_dataset

_LOADING = """
import sys
from rnas.data import load_dataset
from rnas.data.stream import Stream
dataset = load_dataset("digits", data_dir=sys.argv[1], held_out=100, seed=0)
assert len(dataset.train) == 1337
stream = Stream("pictures", data_dir=sys.argv[2], part="train", batch_size=4, seed=0, image_size=8, resize=9)
assert next(stream.batches())["image"].shape == (4, 8, 8, 3)
assert "tensorflow" not in sys.modules
"""


def test_tensorflow_is_never_imported_even_where_it_is_installed(tmp_path, pictures_dir):
    package = tmp_path / "installed" / "tensorflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('TensorFlow was imported')")
    path = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.run(
        [sys.executable, "-c", _LOADING, str(tmp_path / "new"), str(pictures_dir)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    assert (child.stdout, child.stderr) == ("", "")


@pytest.fixture(scope="module")
def digits(digits_dir):
    return load_dataset("digits", data_dir=digits_dir, held_out=200, seed=0)


def test_parts_are_disjoint_and_complete(digits):
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1237, 200, 360)
    ids = np.concatenate([digits.train.ids, digits.validation.ids])
    assert np.sort(ids).tolist() == list(range(1437))
    assert np.bincount(digits.validation.labels).tolist() == [20] * 10
    assert (digits.num_classes, digits.image_shape) == (10, (8, 8, 1))
    assert digits.class_names == tuple("0123456789")


def test_images_are_those_of_the_set_in_its_order(digits, digits_dir):
    source = tfds.data_source("digits", split="train", data_dir=str(digits_dir), download=False)
    for part in (digits.train, digits.validation):
        assert (part.images.dtype, part.labels.dtype, part.ids.dtype) == (np.uint8, np.int32, np.int64)
        for image, label, row in zip(part.images, part.labels, part.ids, strict=True):
            example = source[row]
            assert label == example["label"] and (image == example["image"]).all()


def test_held_out_images_depend_on_the_seed_alone(digits, digits_dir):
    again, other = (load_dataset("digits", data_dir=digits_dir, held_out=200, seed=seed) for seed in (0, 1))
    assert again.fingerprint == digits.fingerprint
    assert other.fingerprint["held_out_ids_sha256"] != digits.fingerprint["held_out_ids_sha256"]
    assert other.fingerprint["data_sha256"] == digits.fingerprint["data_sha256"]


def test_fewer_training_images_are_balanced_and_none_of_the_held_out_ones(digits, digits_dir):
    fewer = load_dataset("digits", data_dir=digits_dir, held_out=200, seed=0, train_count=105)
    assert np.bincount(fewer.train.labels).tolist() == [11] * 5 + [10] * 5
    assert set(fewer.train.ids) <= set(digits.train.ids) and fewer.fingerprint["counts"]["train"] == 105
    np.testing.assert_array_equal(fewer.validation.ids, digits.validation.ids)
    with pytest.raises(ValueError, match="train_count=5000 of 1237 images of 'digits'"):
        load_dataset("digits", data_dir=digits_dir, held_out=200, seed=0, train_count=5000)


def test_nothing_held_out(digits_dir):
    dataset = load_dataset("digits", data_dir=digits_dir, held_out=0, seed=0)
    assert len(dataset.train) == 1437
    assert dataset.validation.images.shape == (0, 8, 8, 1)


def test_fingerprint(digits):
    fingerprint = json.loads(json.dumps(digits.fingerprint))
    assert fingerprint["name"] == "digits/1.0.0" and fingerprint["test_split"] == "test"
    assert fingerprint["counts"] == {"train": 1237, "validation": 200, "test": 360}
    ids = digits.validation.ids.astype("<i8").tobytes()
    assert fingerprint["held_out_ids_sha256"] == hashlib.sha256(ids).hexdigest()


def test_digits_go_to_the_cache_folder_by_default(tmp_path):
    load_dataset("digits", held_out=0, seed=0)
    assert (tmp_path / "cache" / "rnas" / "digits" / "1.0.0" / "dataset_info.json").exists()


def test_unknown_name_lists_near_ones(digits_dir):
    with pytest.raises(ValueError, match="unknown dataset 'cifar_10'; did you mean cifar10 "):
        load_dataset("cifar_10", data_dir=digits_dir, held_out=0, seed=0)
    with pytest.raises(ValueError, match="did you mean digits"):
        load_dataset("digit", data_dir=digits_dir, held_out=0, seed=0)


def test_missing_data_says_what_to_run(digits_dir, tmp_path):
    with pytest.raises(ValueError, match="has no prepared 'cifar10'(.|\n)*download_and_prepare"):
        load_dataset("cifar10", data_dir=digits_dir, held_out=0, seed=0)
    with pytest.raises(ValueError, match="nowhere' does not exist"):
        load_dataset("cifar10", data_dir=tmp_path / "nowhere", held_out=0, seed=0)


def test_tfrecord_data_is_refused(digits_dir, tmp_path):
    shutil.copytree(digits_dir / "digits", tmp_path / "digits")
    info = tmp_path / "digits" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(ValueError, match="tfrecord files(.|\n)*file_format='array_record'"):
        load_dataset("digits", data_dir=tmp_path, held_out=0, seed=0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "train.array_record-00000-of-00001 is missing"),
        (lambda file: file.write_bytes(b""), "a file is damaged: "),
        (lambda file: file.write_bytes(file.read_bytes()[:200_000]), "a file is damaged: "),
        (lambda file: file.write_bytes(_with_another_byte(file.read_bytes())), "a file is damaged: "),
    ],
    ids=["gone", "empty", "cut", "flipped"],
)
def test_a_damaged_shard_is_named(digits_dir, tmp_path, damage, message):
    shutil.copytree(digits_dir / "digits", tmp_path / "digits")
    damage(tmp_path / "digits" / "1.0.0" / "digits-train.array_record-00000-of-00001")
    with pytest.raises(ValueError, match=f"cannot read the train part of 'digits/1.0.0' in .*: .*{message}"):
        load_dataset("digits", data_dir=tmp_path, held_out=0, seed=0)


def _with_another_byte(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_label_beyond_the_classes_is_refused(digits_dir, tmp_path):
    shutil.copytree(digits_dir / "digits", tmp_path / "digits")
    (tmp_path / "digits" / "1.0.0" / "label.labels.txt").write_text("\n".join("012345678") + "\n")
    features = tmp_path / "digits" / "1.0.0" / "features.json"
    features.write_text(features.read_text().replace('"numClasses": "10"', '"numClasses": "9"'))
    with pytest.raises(ValueError, match="has the label 9, but 9 classes: labels go from 0 to 8"):
        load_dataset("digits", data_dir=tmp_path, held_out=0, seed=0)


def test_kept_classes_are_renumbered_in_every_part(digits, digits_dir):
    kept = load_dataset("digits", data_dir=digits_dir, held_out=40, seed=0, train_count=31, class_ids=(7, 2, 0))
    assert (kept.num_classes, kept.class_names, len(kept.validation), len(kept.train)) == (3, ("7", "2", "0"), 40, 31)
    source = tfds.data_source("digits", split="train", data_dir=str(digits_dir), download=False)
    for part in (kept.train, kept.validation):
        for image, label, row in zip(part.images, part.labels, part.ids, strict=True):
            assert (7, 2, 0)[label] == source[int(row)]["label"] and (image == source[int(row)]["image"]).all()
    assert not set(kept.train.ids) & set(kept.validation.ids)
    assert len(kept.test) == np.isin(digits.test.labels, (7, 2, 0)).sum()
    for classes in ((0, 10), (1, 1), (-1,)):
        with pytest.raises(ValueError, match="class_ids=.*: expected different labels of 'digits/1.0.0', from 0 to 9"):
            load_dataset("digits", data_dir=digits_dir, held_out=0, seed=0, class_ids=classes)


def test_a_version_may_be_named_as_it_is_printed(digits, digits_dir):
    again = load_dataset("digits/1.0.0", data_dir=digits_dir, held_out=200, seed=0)
    assert again.fingerprint == digits.fingerprint


def test_too_many_held_out(digits_dir):
    with pytest.raises(ValueError, match="held_out=1400 of 1437 images of 'digits'"):
        load_dataset("digits", data_dir=digits_dir, held_out=1400, seed=0)


def test_images_of_several_sizes_are_sent_to_the_stream(pictures_dir):
    with pytest.raises(ValueError, match="differ in size(.|\n)*data.streaming"):
        load_dataset("pictures", data_dir=pictures_dir, held_out=0, seed=0)


def test_published_set(shared):
    folder = shared / "data" / "tfds"
    dataset = load_dataset("cifar10", data_dir=folder, held_out=2000, seed=0)
    assert dataset.train.images.shape == (18000, 32, 32, 3) and dataset.test.images.shape == (4000, 32, 32, 3)
    assert np.bincount(dataset.validation.labels).tolist() == [200] * 10
    source = tfds.data_source("cifar10", split="train", data_dir=str(folder), download=False)
    for row in (0, 1234, 17999):
        example = source[int(dataset.train.ids[row])]
        assert (dataset.train.images[row] == example["image"]).all()
        assert dataset.train.labels[row] == example["label"]
