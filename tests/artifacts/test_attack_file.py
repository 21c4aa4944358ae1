"""attack.json and the arrays beside it: what is written is read, and what is wrong is named."""

import csv
import json

import numpy as np
import pytest

from rnas.artifacts import attack
from rnas.artifacts.attack import AttackSummary, FoolingImages
from rnas.artifacts.scores import Curve, Score
from rnas.attacks.sanity_checks import Check

EPSILON = 8 / 255


@pytest.fixture
def summary():
    rows = (
        attack.AttackRow("apgd_ce", {"steps": 100}, 30, 8, Score.of(22, 40), Score.of(22, 40), 1.5, 3000),
        attack.AttackRow("square", {"queries": 5000}, 22, 2, Score.of(20, 40), None, 9.0, 100000),
    )
    return AttackSummary(
        model=attack.AttackedModel("student", "cafe", 10, "student", "Student", "runs/a", "tiny", 1000),
        dataset=attack.Images("digits", "test", 40, "beef", "1.0.0", 0, ("zero", "one")),
        threat=attack.Threat("linf", EPSILON, "8/255"),
        attack="auto_attack",
        version="standard",
        seed=0,
        clean=Score.of(30, 40),
        attacks=rows,
        robust=Score.of(20, 40),
        rounded=attack.Rounded(10, 9, 1),
        curve=Curve("pgd_20", ((0.0, Score.of(30, 40)), (EPSILON, Score.of(21, 40)))),
        transfer=(attack.TransferRow("runs/b", "Teacher", Score.of(25, 40)),),
        checks=(Check("A", "inputs", "passed", "fine"), Check("D", "order", "failed", "1 pp", "Look.")),
        warnings=("three classes",),
        seconds=10.5,
        cost=attack.Cost(0.001, 1000, 900, 7),
        caveat="no proof",
        versions={"jax": "0.10.2"},
        device="cpu",
        devices=1,
        batch_size=128,
        precision="float32",
        identity={"model": "cafe"},
    )


def test_what_is_written_is_read(tmp_path, summary):
    summary.write(tmp_path / "attack.json")
    assert AttackSummary.read(tmp_path / "attack.json") == summary
    assert summary.failed == ["D"]


def test_keys_of_the_file(summary):
    content = json.loads(json.dumps(summary.to_json()))
    assert content["threat"] == {"norm": "linf", "epsilon": EPSILON, "epsilon_text": "8/255"}
    assert content["attacks"][1]["alone"] is None
    assert content["uint8"] == {"fooled": 10, "still_fooling": 9, "outside_ball": 1}
    assert content["transfer"][0]["accuracy"] == 25 / 40
    assert content["checks"][1]["advice"] == "Look."


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["format"], 1, r"has format 1, expected 2: an earlier version wrote it"),
        (["format"], 3, r"has format 3, expected 2: a newer version"),
        (["threat", "norm"], "l3", r"threat\.norm: expected 'linf', 'l2' or 'l1', got 'l3'"),
        (["attacks", 0, "fooled"], 31, r"attacks\[0\]: fooled is 31, expected at most the 30 attacked examples"),
        (["checks", 1, "status"], "good", r"checks\[1\]: status is 'good', expected one of skipped"),
        (["robust"], None, r"robust: expected an object, got None"),
    ],
)  # fmt: skip
def test_wrong_content_is_named(tmp_path, summary, keys, value, message):
    content = summary.to_json()
    *path, last = keys
    entry = content
    for key in path:
        entry = entry[key]
    entry[last] = value
    (tmp_path / "attack.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"attack\.json .*{message}|attack\.json {message}"):
        AttackSummary.read(tmp_path / "attack.json")


def test_fooling_images_go_there_and_back(tmp_path):
    images = np.ones((2, 4, 4, 1), np.float32)
    FoolingImages(np.array([1, 5]), images, images * 0).write(tmp_path / "adversarial.npz")
    read = FoolingImages.read(tmp_path / "adversarial.npz")
    assert list(read.row) == [1, 5]
    assert np.all(read.images - read.clean == 1)


def test_fooling_images_of_other_shapes_are_refused(tmp_path):
    FoolingImages(np.arange(3), np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 4, 1))).write(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz has row \(3,\)"):
        FoolingImages.read(tmp_path / "a.npz")


def test_examples_go_there_and_back(tmp_path):
    columns = {name: np.arange(3) for name in attack.COLUMNS} | {"fooled_by": np.array(["", "fgsm", ""])}
    attack.write_examples(tmp_path, columns)
    read = attack.read_examples(tmp_path)
    assert read.keys() == columns.keys()
    with open(tmp_path / "examples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["fooled_by"] == "fgsm"
    assert rows[2]["label"] == "2"


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"label": np.zeros((3, 1))}, "expected one value for each example"), ({"label": None}, "lacks label")],
)
def test_wrong_examples_are_refused(tmp_path, changed, message):
    columns = {name: np.arange(3) for name in attack.COLUMNS} | changed
    attack.write_examples(tmp_path, {name: column for name, column in columns.items() if column is not None})
    with pytest.raises(ValueError, match=rf"examples\.npz.*{message}"):
        attack.read_examples(tmp_path)
