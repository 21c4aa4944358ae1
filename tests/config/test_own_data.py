"""`configs/own_data.py`: it fits itself to any set that can be imported, and the command line has the last word."""

import numpy as np
import pytest

from rnas.artifacts.image_set import FILE, ImageSet, Import
from rnas.config import load_config, recorded_config
from rnas.config.load import record_config
from rnas.data.balance import balanced_rows
from rnas.runs.stages import open_run
from rnas.spaces.width_space import cost, get_space

OWN = "configs/own_data.py"


def write_set(folder, shape, counts):
    channels = shape[2]
    ImageSet(
        name="photos", image_shape=shape, class_names=tuple(f"class {i}" for i in range(len(counts))),
        counts={"train": tuple(counts), "test": (1,) * len(counts)}, mean=(0.25,) * channels, std=(0.5,) * channels,
        checksum="0" * 64, origin=Import("photos", "folder", (), (), ()),
    ).write(folder / FILE)  # fmt: skip
    return f"--config.data.dir={folder}"


@pytest.mark.parametrize(
    ("shape", "counts", "space"),
    [
        ((8, 8, 1), (2, 2), "tiny"),
        ((8, 8, 1), (130,) * 10, "tiny"),
        ((28, 28, 1), (5400,) * 10, "s3"),
        ((17, 23, 3), (40, 30), "tiny"),
        ((30, 47, 3), (80, 80, 80), "s3"),
        ((64, 64, 3), (3, 900, 50), "s3"),
        ((64, 64, 3), (2,) * 200, "s3"),
        ((96, 96, 3), (1000,) * 10, "imagenet"),
        ((224, 224, 3), (1000,) * 100, "imagenet"),
    ],
)
@pytest.mark.parametrize("variant", ["", ":smoke"])
def test_the_recipe_fits_the_set(tmp_path, shape, counts, space, variant):
    config = load_config(OWN + variant, [write_set(tmp_path, shape, counts)])
    data = config.data
    assert (data.name, data.image_shape, data.num_classes) == ("photos", shape, len(counts))
    assert (data.mean, data.std) == ((0.25,) * shape[2], (0.5,) * shape[2])
    open_run(config, tmp_path / "run")
    # What is held out and what is kept can be chosen from every class, and fills a batch.
    labels = np.repeat(np.arange(len(counts)), counts)
    held = balanced_rows(labels, data.held_out, num_classes=len(counts), seed=0)
    left = np.delete(labels, held)
    if data.train_count:
        left = left[balanced_rows(left, data.train_count, num_classes=len(counts), seed=0)]
    assert len(held) >= len(counts)
    assert all(config[stage].batch_size <= len(left) for stage in ("teacher", "search", "train"))
    if not variant:
        assert config.space == space
        assert all(20 <= config[stage].epochs <= 100 for stage in ("teacher", "search", "train"))


@pytest.mark.parametrize("space", ["tiny", "s1", "s3", "s5", "s7", "m", "l", "imagenet"])
@pytest.mark.parametrize("side", [8, 24, 32, 64, 224])
def test_the_budget_of_a_space_lies_within_it(tmp_path, side, space):
    config = load_config(f"{OWN}:{space}", [write_set(tmp_path, (side, side, 3), (100,) * 10)])
    if space == "imagenet" and side < 32:
        pytest.skip("most of that network's cost does not depend on the image")
    of = get_space(space)
    low, high = (cost(of, widths, image_shape=(side, side, 3)) for widths in (of.smallest, of.largest))
    assert config.space == space and low + (high - low) / 10 < config.budget.target < high - (high - low) / 10


def test_more_images_are_seen_less_often(tmp_path):
    few = load_config(OWN, [write_set(tmp_path, (32, 32, 3), (100,) * 10)])
    many = load_config(OWN, [write_set(tmp_path, (32, 32, 3), (10_000,) * 10)])
    assert few.train.epochs == 100 and many.train.epochs == 20
    assert few.train.batch_size < many.train.batch_size == 128


def test_the_command_line_has_the_last_word(tmp_path):
    own = write_set(tmp_path, (32, 32, 3), (100,) * 3)
    config = load_config(f"{OWN}:s7", ["--config.data.mean=(0.1, 0.2, 0.3)", own, "--config.train.epochs=3"])
    assert (config.space, config.data.mean, config.train.epochs) == ("s7", (0.1, 0.2, 0.3), 3)
    record_config(tmp_path / "run", config)
    # To go on, the set itself is not asked again.
    (tmp_path / FILE).unlink()
    assert recorded_config(tmp_path / "run").to_dict() == config.to_dict()


def test_without_a_set_there_is_nothing_to_fit(tmp_path):
    with pytest.raises(ValueError, match="fits itself to a set of images: give --config.data.dir=DIR"):
        load_config(OWN, [])
    with pytest.raises(ValueError, match=f"there is no {tmp_path / FILE}: give .* that rnas data import has made"):
        load_config(OWN, [f"--config.data.dir={tmp_path}"])
    (tmp_path / FILE).write_text('{"format": 1, "name": "x"}')
    with pytest.raises(ValueError, match="image_shape: expected a value, which is missing"):
        load_config(OWN, [f"--config.data.dir={tmp_path}"])
