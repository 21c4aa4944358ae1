"""`rnas.load`: models of runs and teachers by one path, what they compute, and what is known of them."""

import dataclasses
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import CLASSES, own
from untrained_run import write_untrained_run

import rnas
from rnas.artifacts.evaluation import FILE, Evaluation, ModelScores
from rnas.artifacts.scores import AttackScore, Score
from rnas.config.load import load_config, record_config
from rnas.models import build_model
from rnas.runs import run as runs
from rnas.runs.stages import open_run
from rnas.runs.trained_models import evaluated_model
from rnas.spaces.width_space import get_space
from rnas.teachers import load_teacher, save_teacher

CELLS = {  # of the searches over cells, with a genotype given
    "cells": ("configs/dsara/digits.py", ["--config.genotype=dsara", "--config.train.cells=3"]),
    "nasbench201": ("configs/robbench/digits_search.py", ["--config.genotype=9930", "--config.train.cells=1"]),
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    config = load_config("configs/rnas_cl/digits.py", ["--config.baselines=('plain',)"])
    return write_untrained_run(tmp_path_factory.mktemp("run") / "run", config, random_statistics=True)


@pytest.fixture(scope="module")
def model(workdir):
    return rnas.load(workdir)


@pytest.fixture
def images():
    return np.random.default_rng(0).random((2, 8, 8, 1), np.float32)


def without_images(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("images were loaded")

    monkeypatch.setattr(runs, "load_dataset", refuse)


def test_the_package_alone_is_light():
    code = "import sys, rnas; assert rnas.__version__ and 'load' in rnas.__all__ and 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'loda'"):
        rnas.loda  # noqa: B018


def test_a_student_computes_what_the_evaluated_model_computes(workdir, model, images):
    run = open_run(load_config("configs/rnas_cl/digits.py", ["--config.baselines=('plain',)"]), workdir)
    judged = evaluated_model(run, "student")
    logits = jax.jit(judged.predict)(judged.variables, images)
    np.testing.assert_allclose(model.logits(images), logits, rtol=1e-5, atol=1e-5)
    assert model.card.hash == judged.hash
    assert jax.tree.structure(model.variables) == jax.tree.structure(judged.variables)
    assert [tap.name for tap in model.taps] == list(get_space(run.config.space).taps)


def test_logits_can_be_compiled_and_differentiated(model, images):
    gradient = jax.jit(jax.grad(lambda x: model.logits(x)[:, 0].sum()))(images)
    step, direction = 1e-2, np.random.default_rng(1).standard_normal(images.shape).astype(np.float32)
    moved = [float(model.logits(images + sign * step * direction * 0.1)[:, 0].sum()) for sign in (1, -1)]
    assert float((gradient * direction).sum()) == pytest.approx((moved[0] - moved[1]) / (2 * step * 0.1), rel=0.05)


def test_no_images_are_needed(workdir, monkeypatch):
    without_images(monkeypatch)
    card = rnas.load(workdir).card
    assert (card.name, card.kind, card.label, card.dataset) == ("student", "student", "Student", "digits")
    assert card.image_shape == (8, 8, 1) and card.num_classes == 10 and card.params > 10_000
    assert card.training["method"] == "trades" and card.checkpoint.choice == "best"
    assert card.checkpoint.images == 137  # all that the configuration holds out, which are fewer than it would take
    assert card.evaluation is None and card.attacks == ()


@pytest.mark.parametrize("system", [pytest.param("cells", marks=pytest.mark.slow), "nasbench201"])
def test_cell_networks(system, tmp_path, images, monkeypatch):
    without_images(monkeypatch)
    path, overrides = CELLS[system]
    found = rnas.load(write_untrained_run(tmp_path / "run", load_config(path, overrides), random_statistics=True))
    network = found.evaluated.network
    logits, out = jax.jit(lambda variables: network.apply(variables, images, train=False))(found.variables)
    np.testing.assert_allclose(found.logits(images), logits, rtol=1e-5, atol=1e-5)
    assert [(tap.name, (tap.height, tap.width, tap.channels)) for tap in found.taps] == [
        (name, out[name].shape[1:]) for name in network.taps
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 8, 8, 1), np.uint8), "images are uint8; expected floats.*divide bytes by 255"),
        (np.zeros((2, 1, 8, 8), np.float32), r"shape \(2, 1, 8, 8\); expected floats \[N, 8, 8, 1\].*channels last"),
        (np.zeros((8, 8, 1), np.float32), r"shape \(8, 8, 1\)"),
        (np.full((1, 8, 8, 1), 255.0, np.float32), "pixels go from 255 to 255"),
        (np.full((1, 8, 8, 1), -0.1, np.float32), "pixels go from -0.1 to -0.1.*normalisation is inside"),
        (np.full((1, 8, 8, 1), np.nan, np.float32), "pixels go from nan"),
    ],
)
def test_other_images_are_refused(wrong, message, model):
    with pytest.raises(ValueError, match=message):
        model.logits(wrong)


def test_a_teacher_of_its_own_directory(tmp_path, images):
    network = build_model("wide_resnet_10_1", **own(1))
    variables = dict(network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))
    origin = {"dataset": {"name": "digits/1.0.0"}, "objective": "trades"}
    save_teacher(tmp_path, network, variables, architecture="wide_resnet_10_1", image_shape=(8, 8, 1), origin=origin)
    found, teacher = rnas.load(tmp_path), load_teacher(tmp_path)
    logits, _ = jax.jit(teacher.apply)(teacher.variables, images)
    np.testing.assert_allclose(found.logits(images), logits, rtol=1e-5, atol=1e-5)
    assert found.taps == teacher.taps and found.run is None
    card = found.card
    assert (card.kind, card.dataset, card.num_classes) == ("teacher", "digits", CLASSES)
    assert card.training["objective"] == "trades" and card.mean == (0.3,) and card.std == (0.4,)
    assert rnas.load("shipped:fashion_mnist").card.dataset == "fashion_mnist"


def test_figures_of_the_evaluation_are_those_of_the_same_step(workdir, model, tmp_path):
    attacks = {"pgd_100": AttackScore.of(60, 100, epsilon=0.1)}

    def write(checkpoint):
        scores = ModelScores("student", "Student", 1, 1, Score.of(90, 100), attacks, checkpoint=checkpoint)
        Evaluation({"student": scores}, {}, "linf", 0, {}).write(workdir / FILE)

    try:
        write(model.card.checkpoint)
        found = rnas.load(workdir).card.evaluation
        assert found.clean.accuracy == 0.9 and found.attacks["pgd_100"].accuracy == 0.6
        write(dataclasses.replace(model.card.checkpoint, step=7))
        assert rnas.load(workdir).card.evaluation is None
    finally:
        (workdir / FILE).unlink()


def test_what_is_no_model_is_refused(workdir, tmp_path):
    record_config(tmp_path / "table", load_config("configs/robbench/digits.py", []))
    with pytest.raises(ValueError, match="train a table with --config.train.keep_weights=True to have them"):
        rnas.load(tmp_path / "table")
    shutil.rmtree(tmp_path / "table")
    with pytest.raises(ValueError, match="holds neither config.json nor teacher.json: expected the work directory"):
        rnas.load(tmp_path)
    with pytest.raises(ValueError, match=f"holds runs, of which one can be named, such as {workdir}"):
        rnas.load(workdir.parent)
    with pytest.raises(ValueError, match="this run has no model 'studnet'; it has student, baseline_plain"):
        rnas.load(workdir, "studnet")
    with pytest.raises(ValueError, match="holds no checkpoint of stage 'baseline_plain'; run that stage first"):
        rnas.load(workdir, "baseline_plain")
    with pytest.raises(ValueError, match="no teacher 'mnist' comes with rnas; there is fashion_mnist"):
        rnas.load("shipped:mnist")
