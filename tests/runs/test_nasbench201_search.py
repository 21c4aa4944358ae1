"""The cell search in the space of NAS-Bench-201: the same stages, its own networks, an outcome the table can judge."""

import json
from pathlib import Path

import numpy as np
import pytest

from rnas.artifacts.architecture import load_architecture
from rnas.config.load import load_config
from rnas.main import main
from rnas.runs.description import describe
from rnas.runs.stages import open_run
from rnas.runs.stages.derive_architecture import derive_architecture
from rnas.spaces.nasbench201 import cost, encode, encodings, representatives

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "robbench" / "digits_search.py"


def opened(tmp_path, *overrides, argument=""):
    config = load_config(f"{DIGITS}:{argument}", [f"--config.{each}" for each in overrides])
    return open_run(config, tmp_path)


@pytest.mark.slow
def test_sizes_are_those_of_the_space(tmp_path):
    images = ("data.image_shape=(32,32,3)", "data.mean=(0.,0.,0.)", "data.std=(1.,1.,1.)")
    sizes = [f"{stage}.{key}" for stage in ("search", "train") for key in ("channels=16", "cells=5")]
    experiment = opened(tmp_path, "genotype=333133", *images, *sizes)
    found = describe(experiment.config, tmp_path)
    assert found["student"]["params"] == 1_288_506 and found["student"]["macs"] == cost(encode("333133"))
    # Either convolution on each of 6 edges of 5 cells a stage, with BatchNorm.
    edges = 30 * sum(9 * c * c + c * c + 4 * c for c in (16, 32, 64))
    assert found["supernet"]["params"] == 73_306 + edges
    assert found["taps"]["student"][-1]["name"] == "stage3.cell4" and found["student"]["code"] == "333133"


def test_a_given_cell_is_written_and_comes_back(tmp_path):
    experiment = opened(tmp_path, "genotype=9930", "baselines=('random_0','random_1')")
    derive_architecture(experiment)
    found = load_architecture(tmp_path / "architecture.json")
    assert (found.code, found.channels, found.cells) == ("333133", 8, 1)
    again = opened(tmp_path, f"genotype={tmp_path / 'architecture.json'}", "train.channels=4")
    assert again.search.given().code == "333133" and again.search.given().channels == 4
    drawn = [experiment.baseline_architecture(name) for name in ("random_0", "random_1", "random_0")]
    assert drawn[0] == drawn[2] and drawn[0].code != drawn[1].code and drawn[0].origin == {"method": "random"}
    sizes = {"image_size": 8, "inputs": 1, "channels": 8, "cells": 1}
    own, others = cost(encode("333133"), **sizes), [cost(encode(each.code), **sizes) for each in drawn]
    assert all(abs(macs / own - 1) <= 0.02 for macs in others) and "333133" not in [each.code for each in drawn]


def test_cells_that_no_other_resembles_are_refused(tmp_path):
    experiment = opened(tmp_path, "genotype=333333", "baselines=('random_0',)")
    derive_architecture(experiment)
    with pytest.raises(
        ValueError, match=r"within 2% of [\d,]+ MACs, those of the student; the nearest are [\d.]+% away"
    ):
        experiment.baseline_architecture("random_0")


def test_probabilities_become_a_cell(tmp_path):
    family = opened(tmp_path).search.family
    rows = np.full((6, 5), 0.1) + 0.5 * np.eye(5)[[3, 2, 4, 1, 0, 2]]
    architecture, warning = family.found({"cell": rows}, {"method": "dsara"})
    assert architecture.code == "324102" and not warning
    np.testing.assert_allclose(architecture.operation_probabilities, rows)
    rows = np.full((6, 5), 0.1) + 0.5 * np.eye(5)[[1, 1, 4, 1, 0, 1]]
    assert "collapsed" in family.found({"cell": rows}, {"method": "dsara"})[1]


def test_tutors_of_a_deeper_network_come_from_the_searched_cell_at_its_place(tmp_path):
    family = opened(tmp_path, "search.cells=2", "train.cells=5", argument="distil").search.family
    places = [family.searched_tap(f"stage2.cell{cell}") for cell in range(5)]
    assert places == ["stage2.cell0"] * 3 + ["stage2.cell1"] * 2
    assert family.searched_tap("reduction1") == "reduction1" and family.searched_tap("stem") == "stem"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("train.auxiliary=0.4",), "train.auxiliary = 0.4"),
        (("train.drop_path=0.2",), "train.drop_path = 0.2"),
        (("width_ratio=(1,2,2)",), "each stage doubles the channels"),
        (("genotype=333135",), "The nearest code is '333134'"),
        (("baselines=('advrush',)",), "unknown baseline 'advrush'"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, *overrides)


def test_a_genotype_of_another_space_is_refused(tmp_path):
    given = open_run(load_config(str(DIGITS), ["--config.genotype=333133"]), tmp_path)
    derive_architecture(given)
    stacked = DIGITS.parents[1] / "dsara" / "digits.py"
    with pytest.raises(ValueError, match="is of space 'nasbench201', not of 'dsara'"):
        open_run(load_config(str(stacked), [f"--config.genotype={tmp_path / 'architecture.json'}"]), tmp_path / "b")


SHORT = (
    "data.held_out=1370", "search.epochs=1", "search.stage1_epochs=0", "search.channels=2", "search.batch_size=8",
    "adversarial.steps=1", "teacher.epochs=1", "teacher.steps=1",
    "validation.count=8", "validation.steps=1", "evaluation.batch_size=8",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["arnas", "dsara,distil"])
def test_a_search_is_judged_by_the_table(tmp_path, capsys, monkeypatch, argument):
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    workdir = tmp_path / "run"
    options = [f"--config.{each}" for each in SHORT]
    assert main(["search", f"--config={DIGITS}:{argument}", f"--workdir={workdir}", *options]) == 0
    found = load_architecture(workdir / "architecture.json")
    rows = np.array(found.operation_probabilities)
    assert found.code == "".join(map(str, rows.argmax(1))) and np.ptp(rows) > 1e-4  # the search moved them
    assert bool(found.tutor_assignment.tutors) == ("distil" in argument)
    # A table in which every class has the share of 3x3 convolutions on the edges of its representative.
    accuracy = {number: float((encodings()[number] == 3).mean()) for number in np.unique(representatives()).tolist()}
    content = {"digits": {str(n): {"val_pgd_8.0_acc": {"0": value}} for n, value in accuracy.items()}}
    table = tmp_path / "table.json"
    table.write_text(json.dumps(content))
    capsys.readouterr()
    judge = ["tabular", "judge", f"--table={table}", "--partial", "--by=digits/pgd_8", f"--workdir={workdir}", "--json"]
    assert main(judge) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["found"]["code"] == found.code and said["origin"] == {"method": argument.partition(",")[0]}
    assert said["agreement"]["digits/pgd_8"]["count"] == len(encodings())
