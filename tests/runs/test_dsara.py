"""What the cell search makes of its configuration, before and without training anything."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from rnas.artifacts.architecture import load_architecture
from rnas.config.load import load_config, recorded_config
from rnas.config.load import record_config as record
from rnas.layers.counting import count
from rnas.main import main
from rnas.runs.recipes import recipe
from rnas.runs.stages import open_run
from rnas.runs.stages.derive_architecture import derive_architecture
from rnas.runs.stages.search_architecture import search_architecture
from rnas.runs.stages.train_teacher import train_teacher
from rnas.spaces import cell_space

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "dsara"
DIGITS, CIFAR10 = CONFIGS / "digits.py", CONFIGS / "cifar10.py"


def opened(tmp_path, *overrides, config=DIGITS, argument=""):
    return open_run(load_config(f"{config}:{argument}", [f"--config.{each}" for each in overrides]), tmp_path)


@pytest.mark.parametrize(
    ("config", "overrides", "student"),
    [
        ("cifar10", ("genotype=dsara",), (4_520_394, 1_240_151_040)),
        pytest.param(
            "cifar10", ("genotype=dsara", "train.auxiliary=0.4"), (4_988_628, 1_240_151_040), marks=pytest.mark.slow
        ),
        pytest.param("cifar10:wide", ("genotype=dsara",), (9_639_754, 1_591_535_616), marks=pytest.mark.slow),
        pytest.param("cifar100", ("genotype=arnas",), (4_566_564, 1_240_197_120), marks=pytest.mark.slow),
        pytest.param(
            "tiny_imagenet",
            ("genotype=dsara", "train.auxiliary=0.0"),
            (5_405_684, 5_818_987_776),
            marks=pytest.mark.slow,
        ),
        pytest.param("cifar10:darts", ("genotype=advrush",), (4_158_046, 645_337_728), marks=pytest.mark.slow),
    ],
)
def test_counts_of_published_cells(tmp_path, monkeypatch, capfd, config, overrides, student):
    """Parameters and MACs derived from the published definitions by hand."""
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    name, _, argument = config.partition(":")
    file = CONFIGS / f"{name}.py"
    command = ["describe", f"--config={file}:{argument}" if argument else f"--config={file}", f"--workdir={tmp_path}"]
    assert main([*command, "--json", *(f"--config.{each}" for each in overrides)]) == 0
    described = json.loads(capfd.readouterr().out)
    assert (described["student"]["params"], described["student"]["macs"]) == student
    assert described["supernet"]["params"] == (1_930_618 if argument == "darts" else described["supernet"]["params"])
    if config == "cifar10":
        assert described["supernet"]["params"] == 1_882_930
    assert "teacher" not in described, "no stage learns from one"
    assert described["taps"]["student"][0]["name"] == "stem"
    assert len(described["taps"]["student"]) == 1 + 4 * described["student"]["cells"]


def test_given_cells_are_written_and_come_back(tmp_path):
    experiment = opened(tmp_path, "genotype=dsara")
    train_teacher(experiment)
    search_architecture(experiment)
    derive_architecture(experiment)
    found = load_architecture(tmp_path / "architecture.json")
    assert found.genotype == cell_space.PUBLISHED["dsara"] and found.origin == {"published": "dsara"}
    assert (found.channels, found.cells, found.width_ratio) == (8, 5, (1, 2, 2))
    content = json.loads((tmp_path / "architecture.json").read_text())
    assert content["placement"] == ["accurate", "reduce", "accurate", "reduce", "robust"]
    # The file of a run can be given to another one.
    again = opened(tmp_path / "other", f"genotype={tmp_path / 'architecture.json'}", "train.channels=16")
    assert again.search.given().genotype == found.genotype and again.search.given().channels == 16


def test_random_cells_have_the_macs_of_the_student_and_depend_on_seed_and_name_alone(tmp_path):
    baselines = "baselines=('random_0','random_1')"
    one, same, other = (opened(tmp_path, f"seed={seed}", baselines, argument="random") for seed in (1, 1, 2))
    for experiment in (one, same, other):
        derive_architecture(experiment)
    names = ("random_0", "random_1")
    drawn = [experiment.baseline_architecture(name).genotype for experiment in (one, same, other) for name in names]
    assert drawn[:2] == drawn[2:4] and len(set(drawn)) == 4

    def macs(architecture):
        return count(one.search.network(architecture), architecture.image_shape).macs

    assert all(abs(macs(one.baseline_architecture(name)) / macs(one.architecture) - 1) <= 0.02 for name in names)
    assert one.baseline_architecture("random_0").origin == {"method": "random"}
    assert recipe(one.config, "baseline_random_0").objective == recipe(one.config, "train").objective


def test_tutors_of_a_deeper_network_come_from_the_searched_cell_at_its_place(tmp_path):
    experiment = opened(tmp_path, "train.cells=8", argument="distil")
    places = cell_space.get_space("dsara").places(8, 5)
    assert places == (0, 0, 1, 2, 2, 3, 4, 4)
    selector = np.arange(1 + 4 * 5, dtype=np.float32)[:, None] + np.zeros((1, 3), np.float32)

    probabilities = cell_space.initial_logits(experiment.search.space, jax.random.key(0))
    state = SimpleNamespace(architecture={"cells": probabilities, "tutors": selector})
    architecture, tutors, _ = experiment.search.derive(state)
    rows = np.asarray(tutors)[:, 0]
    assert len(architecture.taps) == 1 + 4 * 8
    assert rows[0] == 0 and len(rows) == 1 + 4 * 8
    np.testing.assert_array_equal(rows[1:].reshape(8, 4), 1 + 4 * np.array(places)[:, None] + np.arange(4))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("space=nasbench",), "unknown space 'nasbench'; expected one of dsara, darts"),
        (("search.method=darts3",), "unknown search.method 'darts3'; expected one of dsara, arnas"),
        (("search.cells=2",), "at least 3 cells; got 2"),
        (("search.optimizer.name=adam",), "second_order='exact' looks one step of sgd ahead"),
        (("search.adversarial_weight=0.0",), "adversarial_weight=0.0 must be positive"),
        (("genotype=nothing.json",), "genotype = 'nothing.json' is neither a file nor a published genotype: dsara"),
        (("baselines=('random',)",), "unknown baseline 'random'; known, .*: no_distillation, .*, pgd_at, .*, random_0"),
        (("width_ratio=(1,2)",), "must have three numbers"),
        (("train.channels=3", "width_ratio=(1,1,1)"), "train.channels = 3: cells that halve .* one would have 3"),
        (("data.image_shape=(6,8,1)",), "cells halve images twice; use multiples of 4"),
        (("train.auxiliary=0.4",), "the auxiliary head needs square images of at least 32×32 pixels; use 0"),
        (
            ("evaluation.auto_attack=('baseline_random_0',)",),
            "auto_attack names baseline_random_0; this run will have student",
        ),
        (("data.streaming=true",), "data.streaming must be False"),
        (("search.method=random", "gamma=1.0"), "tutors are found by a search"),
        (("search.objective=none", "search.method=arnas"), "arnas.*needs an adversarial objective"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, *overrides)


def test_a_malformed_genotype_is_refused_with_its_place(tmp_path):
    file = tmp_path / "cells.json"
    content = cell_space.PUBLISHED["dsara"].to_json()
    content["robust"][3] = ["sep_conv_3x3", 3]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="cells.json.*node 3 of cell 'robust'.*source 3.*from 0 to 2"):
        opened(tmp_path, f"genotype={file}")


@pytest.mark.parametrize("config", sorted(path.stem for path in CONFIGS.glob("*.py")))
def test_every_configuration_can_be_opened_recorded_and_read_back(tmp_path, config):
    given = load_config(str(CONFIGS / f"{config}.py"), [])
    open_run(given, tmp_path)
    record(tmp_path, given)
    assert json.loads(recorded_config(tmp_path).to_json()) == json.loads(given.to_json())


@pytest.mark.parametrize(
    "variant", ["arnas", "sum", "darts1", "darts2", "darts2_adversarial", "advrush", "advrush_per_image",
                "smooth_rs", "smooth_adv", "random", "darts", "darts,darts2", "finite_difference",
                "first_order", "wide", "distil", "compare"],
)  # fmt: skip
def test_every_variant_can_be_opened(tmp_path, variant):
    opened(tmp_path, argument=variant)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="unknown variant 'dart'; expected any of dsara, arnas"):
        load_config(f"{DIGITS}:dart", [])
