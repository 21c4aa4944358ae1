"""The stream: crops, exact evaluation, position as a function of the step, shards, class subsets."""

import json
import shutil

import numpy as np
from PIL import Image
import pytest

from rnas.artifacts.files import read_arrays, write_arrays
from rnas.config.defaults import rnas_cl
from rnas.data.held_parts import held_part, load_held_parts
from rnas.data.stream import Stream, random_resized_crop, resize_and_center_crop
from rnas.runs.stages import execute


def open_stream(pictures_dir, part="train", **arguments):
    arguments = {"batch_size": 4, "seed": 0, "image_size": 8, "resize": 10, **arguments}
    return Stream("pictures", data_dir=pictures_dir, part=part, **arguments)


def first(stream, count):
    batches = stream.batches()
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def numbers(batch):
    """Which pictures these are: the lit channel is constant, 100 + number, and brighter than the ramp."""
    return batch["image"].reshape(len(batch["label"]), -1).max(1).astype(int) - 100


def test_training_batches(pictures_dir):
    stream = open_stream(pictures_dir)
    assert (len(stream.rows), stream.num_classes) == (30, 3)
    batches = first(stream, 14)
    for batch in batches:
        assert batch["image"].shape == (4, 8, 8, 3) and batch["image"].dtype == np.uint8
        assert batch["label"].shape == (4,) and batch["label"].dtype == np.int32
        np.testing.assert_array_equal(numbers(batch) % 3, batch["label"])
    epochs = np.array([numbers(batch) for batch in batches]).reshape(2, 28)
    assert all(len(set(epoch)) == 28 for epoch in epochs)
    assert (epochs[0] != epochs[1]).any()


def test_every_picture_of_every_step_has_its_own_crop(pictures_dir):
    batches = first(open_stream(pictures_dir), 14)
    ramps = []
    for batch in batches:
        for image, label, number in zip(batch["image"], batch["label"], numbers(batch), strict=True):
            if number % 2 == 0:  # those of one size
                ramps.append(image[0, :, (label + 1) % 3])
    assert len(ramps) > 20
    assert len({ramp.tobytes() for ramp in ramps}) > 0.8 * len(ramps)
    mirrored = [ramp[0] > ramp[-1] for ramp in ramps]
    assert 0.2 < np.mean(mirrored) < 0.8


def test_seed_decides(pictures_dir):
    assert_equal(first(open_stream(pictures_dir), 3), first(open_stream(pictures_dir), 3))
    one, other = first(open_stream(pictures_dir, seed=1), 3), first(open_stream(pictures_dir), 3)
    assert [numbers(batch).tolist() for batch in one] != [numbers(batch).tolist() for batch in other]


def test_resuming_equals_the_uninterrupted_run(pictures_dir):
    whole = first(open_stream(pictures_dir), 9)
    for step in (0, 5, 7):
        resumed = open_stream(pictures_dir).batches(step)
        assert_equal([next(resumed) for _ in range(2)], whole[step : step + 2])
        resumed.close()


def test_hosts_share_the_batch(pictures_dir):
    whole = first(open_stream(pictures_dir), 3)
    shards = [first(open_stream(pictures_dir, process_index=i, process_count=2), 3) for i in range(2)]
    for batch, *halves in zip(whole, *shards, strict=True):
        for name in batch:
            np.testing.assert_array_equal(batch[name], np.concatenate([half[name] for half in halves]))


def everything(stream):
    split = stream.read(stream.rows)
    return {"image": split.images, "label": split.labels, "ids": split.ids}


def test_every_picture_of_the_test_part_is_read_once(pictures_dir):
    # The unlabelled test part is passed over.
    found = everything(open_stream(pictures_dir, "test"))
    assert found["image"].shape == (11, 8, 8, 3) and found["image"].dtype == np.uint8
    assert sorted(numbers(found)) == found["ids"].tolist() == list(range(11))
    np.testing.assert_array_equal(found["label"], numbers(found) % 3)


def test_held_out_pictures_are_never_trained_on(pictures_dir):
    held = numbers(everything(open_stream(pictures_dir, "validation", held_out=6)))
    assert len(held) == 6 and np.bincount(held % 3).tolist() == [2, 2, 2]
    trained = {int(n) for batch in first(open_stream(pictures_dir, held_out=6), 24) for n in numbers(batch)}
    assert trained == set(range(30)) - set(held.tolist())
    assert not len(open_stream(pictures_dir, "validation").rows)


def test_fewer_training_pictures_are_balanced_and_none_of_the_held_out_ones(pictures_dir):
    held, kept = open_stream(pictures_dir, "validation", held_out=6).rows, open_stream(pictures_dir, held_out=6)
    fewer = open_stream(pictures_dir, held_out=6, train_count=12).rows
    assert set(fewer) < set(kept.rows) and not set(fewer) & set(held)
    trained = numbers(everything(open_stream(pictures_dir, held_out=6, train_count=12)))
    assert np.bincount(trained % 3).tolist() == [4, 4, 4]


def test_classes_are_kept_and_renumbered(pictures_dir, tmp_path):
    stream = open_stream(pictures_dir, class_ids=(2, 0))
    assert (stream.num_classes, len(stream.rows)) == (2, 20)
    for batch in first(stream, 5):
        np.testing.assert_array_equal(numbers(batch) % 3, np.array([2, 0])[batch["label"]])
    (index,) = (tmp_path / "cache" / "rnas" / "labels").iterdir()
    assert np.bincount(read_arrays(index)["labels"]).tolist() == [10, 10, 10]
    # The index is read again, not made again: an altered one shows. A damaged one is made again.
    write_arrays(index, {"labels": np.zeros(30, np.int32)})
    assert len(open_stream(pictures_dir, class_ids=(0,)).rows) == 30
    index.write_bytes(index.read_bytes()[:-30])
    assert len(open_stream(pictures_dir, class_ids=(0,)).rows) == 10


def ramp(width, height):
    """A picture whose red is 4 x and whose green is 4 y."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([4 * x, 4 * y, 0 * x], -1).astype(np.uint8))


def test_random_resized_crop_keeps_area_and_ratio_in_their_ranges():
    areas, ratios, centres = [], [], []
    for seed in range(300):
        crop = np.asarray(random_resized_crop(ramp(60, 50), 16, np.random.default_rng(seed))).astype(float)
        # The slope of the ramp in the resized crop tells the size of the box.
        width, height = (np.diff(crop[1:-1, 1:-1], axis=a)[..., c].mean() * 4 for a, c in ((1, 0), (0, 1)))
        areas.append(width * height / 3000)
        ratios.append(width / height)
        centres.append(crop[7:9, 7:9, 0].mean() / 4)
    assert min(areas) > 0.06 and max(areas) < 1.05 and max(areas) - min(areas) > 0.8
    assert 0.7 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.42
    assert abs(np.mean(np.log(ratios))) < 0.05
    assert abs(np.mean(centres) - 29.5) < 1.5


def test_an_image_too_narrow_for_any_draw_is_cropped_in_its_centre():
    crop = np.asarray(random_resized_crop(ramp(60, 6), 8, np.random.default_rng(0)))
    np.testing.assert_allclose(crop[:, :, 0].mean() / 4, 29.5, atol=0.3)  # the whole height, 8 columns wide
    assert np.ptp(crop[0, :, 0]) <= 4 * 7


def test_resize_and_center_crop_against_torchvision_sizes():
    # 60 × 50 to 36 × 30, of which the central 12 columns and rows start at 12 and 9.
    crop = np.asarray(resize_and_center_crop(ramp(60, 50), 30, 12)).astype(float)
    assert crop.shape == (12, 12, 3)
    scale = 50 / 30
    expected_x = 4 * ((np.arange(12, 24) + 0.5) * scale - 0.5)
    expected_y = 4 * ((np.arange(9, 21) + 0.5) * scale - 0.5)
    np.testing.assert_allclose(crop[:, :, 0].mean(0), expected_x, atol=1)
    np.testing.assert_allclose(crop[:, :, 1].mean(1), expected_y, atol=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"part": "dev"}, "part='dev'"),
        ({"image_size": 20}, "image_size=20, resize=10"),
        ({"batch_size": 5, "process_count": 2}, "batch_size=5"),
        ({"process_index": 1}, "process_index=1"),
        ({"class_ids": (0, 3)}, "class_ids="),
        ({"class_ids": (1, 1)}, "class_ids="),
        ({"batch_size": 31}, "only 30 images"),
        ({"held_out": 30}, "30 images to choose"),
    ],
)
def test_mistakes_are_named(pictures_dir, arguments, message):
    with pytest.raises(ValueError, match=message):
        open_stream(pictures_dir, **arguments)


def test_held_parts_are_a_dataset_whose_training_images_stay_on_disk(pictures_dir):
    found = load_held_parts("pictures", lambda part: open_stream(pictures_dir, part, held_out=6))
    assert (len(found.train), len(found.validation), len(found.test)) == (0, 6, 11)
    assert found.fingerprint["name"] == "pictures:1.2.0"
    assert found.fingerprint["counts"] == {"train": 24, "validation": 6, "test": 11}
    assert found.image_shape == found.train.images.shape[1:] == (8, 8, 3)
    assert (found.num_classes, found.class_names) == (3, ("red", "green", "blue"))


def test_held_parts_are_decoded_once_and_again_where_the_file_is_damaged(pictures_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stream = open_stream(pictures_dir, "test")
    expected, decoded = stream.read(stream.rows), []
    held = Stream.held
    monkeypatch.setattr(Stream, "held", lambda self, row: decoded.append(row) or held(self, row))
    for damaged, times in ((False, 11), (False, 11), (True, 22), (False, 22)):
        if damaged:
            (file,) = (tmp_path / "rnas" / "held_parts").glob("*.npy")
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        found = held_part(open_stream(pictures_dir, "test"))
        for name in ("images", "labels", "ids"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert len(decoded) == times
    held_part(open_stream(pictures_dir, "test", resize=9))
    assert len(decoded) == 33, "another crop has a file of its own"


@pytest.mark.slow
def test_worker_processes_make_the_same_batches(pictures_dir):
    whole = first(open_stream(pictures_dir), 5)
    workers = open_stream(pictures_dir).batches(2, workers=2)
    assert_equal([next(workers) for _ in range(3)], whole[2:])
    workers.close()


@pytest.mark.slow
def test_a_streamed_training_resumed_ends_as_the_uninterrupted_one(pictures_dir, tmp_path):
    config = rnas_cl.get_config()
    data = config.data
    data.name, data.dir, data.image_shape, data.num_classes = "pictures", str(pictures_dir), (8, 8, 3), 3
    data.held_out, data.streaming, data.crop_padding, data.flip = 6, True, 0, False
    config.space, config.attention.size, config.baselines = "tiny", 8, ()
    config.gamma = config.kl_weight = 0.0
    config.adversarial.objective = "none"
    config.search.epochs, config.search.batch_size = 1, 4
    config.train.epochs, config.train.batch_size = 2, 4
    config.validation.count, config.validation.steps = 6, 1
    config.log_every_steps, config.checkpoint_every_steps = 2, 4
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    execute(config, whole, command="", until="train")
    shutil.copytree(whole, resumed)
    record = json.loads((resumed / "run.json").read_text())
    del record["stages"]["train"]
    (resumed / "run.json").write_text(json.dumps(record))
    shutil.rmtree(resumed / "checkpoints" / "train" / "12")  # the last of 2 · 24 / 4
    execute(config, resumed, command="", until="train")
    one, other = (
        json.loads((folder / "checkpoints" / "train" / "12" / "record" / "metadata").read_text())
        for folder in (whole, resumed)
    )
    assert one["sha256"] == other["sha256"]
