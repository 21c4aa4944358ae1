"""Further training images and CutMix in a run: who trains with them, and what does not go together."""

import json

import jax
import numpy as np
import pytest
from small_run import MINI
import tensorflow_datasets as tfds

from rnas.artifacts.evaluation import Evaluation
from rnas.config.load import load_config
from rnas.data.writer import write_set
from rnas.runs.checks import check_config, check_surroundings
from rnas.runs.recipes import recipe
from rnas.runs.stage_trainers import recipe_loader, recipe_rows
from rnas.runs.stages import execute, open_run

COUNT = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set of 90 noisy images in ten numbered classes, and the configuration of the mini run."""
    folder = tmp_path_factory.mktemp("more")
    (folder / "mini.py").write_text(MINI)
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 1)).astype(np.uint8)
    examples = ((row, {"image": images[row], "label": row % 10}) for row in range(COUNT))
    features = {
        "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
        "label": tfds.features.ClassLabel(num_classes=10),
    }
    write_set(folder, "drawn", version="1.0.0", description="a test", features=features, parts={"train": examples})
    return folder


@pytest.fixture
def opened(folder, tmp_path):
    """`opened(**overrides)`: the mini run with keys changed; '__' stands for a dot."""

    def open_changed(*overrides):
        keys = [f"--config.{each}" for each in (f"data.dir={folder}", f"data.extra_dir={folder}", *overrides)]
        return open_run(load_config(str(folder / "mini.py"), keys), tmp_path)

    return open_changed


EXTRA = ("data.extra=drawn", "data.extra_share=0.25")


def test_student_and_baselines_train_with_them_and_nobody_else(opened):
    config = opened(*EXTRA, "train.cutmix=0.5").config
    for stage in ("train", "finetune", "baseline_plain"):
        assert (recipe(config, stage).extra_images, recipe(config, stage).cutmix) == (32, 0.5)
    assert (recipe(config, "teacher").extra_images, recipe(config, "teacher").cutmix) == (0, 0.0)
    assert recipe(opened().config, "train").extra_images == 0


def test_every_batch_has_its_share_of_them(opened):
    run = opened(*EXTRA)
    how, own = recipe(run.config, "train"), len(run.dataset.train)
    block = recipe_loader(run, how).dispatch(0, 4)
    rows = block.rows[:, :4]  # [devices, steps, images of a device]
    assert block.images.shape[0] == own + COUNT and rows.shape == (4, 4, 32)
    assert ((rows >= own).sum((0, 2)) == 32).all() and ((rows >= own).sum(2) == 8).all()
    images = np.asarray(jax.device_get(block.images))
    assert np.array_equal(images[own:], run.extra.images.images) and np.array_equal(
        images[:own], run.dataset.train.images
    )
    labels = np.asarray(jax.device_get(block.labels))
    assert np.array_equal(labels[own:], run.extra.images.labels)
    again = recipe_rows(run, how)(2, 2)
    assert np.array_equal(again, np.moveaxis(rows, 0, 1).reshape(4, -1)[2:])
    assert not np.array_equal(again, recipe_rows(run, how, seed=5)(2, 2))


def test_the_own_images_of_a_run_without_them_are_as_before(opened):
    run = opened()
    how = recipe(run.config, "train")
    rows = recipe_rows(run, how)(0, 3)
    assert rows.max() < len(run.dataset.train) and len(np.unique(rows)) == rows.size


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("train.cutmix=1.0", "train.objective=mart"),
            r"stage train trains by mart.*mixed labels of train.cutmix=1.0: use",
        ),
        (
            ("train.cutmix=1.0", "baselines=('mart',)"),
            r"stage baseline_mart .* or one of none, pgd_at, trades, score, ard",
        ),
        (("train.cutmix=1.0", "teacher.cache.views=2"), "teacher.cache.views=0 with data.extra or train.cutmix"),
        ((*EXTRA, "teacher.cache.views=2"), "teacher.cache.views=0 with data.extra or train.cutmix"),
        ((*EXTRA, "data.streaming=True"), "data.extra needs the images in memory"),
        (("data.extra=drawn", "data.extra_share=0.001"), r"data.extra_share=0.001 of train.batch_size=128 images is 0"),
        (("train.cutmix=1.5",), "train.cutmix"),
        (("data.extra=drawn", "data.extra_share=1.0"), "data.extra_share"),
    ],
)
def test_what_does_not_go_together(opened, overrides, message):
    with pytest.raises(ValueError, match=message):
        check_config(opened(*overrides))


def test_what_lies_outside_is_checked_before(opened):
    with pytest.raises(ValueError, match="unknown dataset 'drwn'|no prepared 'drwn'"):
        check_surroundings(opened("data.extra=drwn"))
    with pytest.raises(ValueError, match="data.extra has 90 images, but a batch takes 102 of them"):
        check_surroundings(opened("data.extra=drawn", "data.extra_share=0.8"))
    with pytest.raises(
        ValueError, match="gives each of 4 devices 31 images, but train.cutmix mixes them in pairs: use 128"
    ):
        check_surroundings(opened("train.cutmix=1.0", "train.batch_size=124"))


@pytest.mark.slow
def test_a_whole_run_and_what_it_records(opened, tmp_path):
    run = opened(*EXTRA, "train.cutmix=0.5", "train.weight_average=0.9", "evaluation.corruptions=('student',)")
    execute(run.config, tmp_path, command="test")
    evaluation = Evaluation.read(tmp_path / "evaluation.json")
    extra = evaluation.dataset["extra"]
    assert (extra["count"], extra["share"], extra["left_out"]) == (
        COUNT,
        0.25,
        {"other classes": 0, "held out or test": 0, "training": 0},
    )
    assert evaluation.student.corruptions.types == 14 and evaluation.models["baseline_plain"].corruptions is None
    assert json.loads((tmp_path / "corruptions" / "student_first16" / "corruptions.json").read_text())["seed"] == 0
