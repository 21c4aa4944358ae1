"""evaluation.json and the images beside it: what is written is read, and what is wrong is named."""

import copy
import dataclasses
import json

import numpy as np
import pytest

from rnas.artifacts.evaluation import KINDS, Evaluation, ExampleImages, ModelScores
from rnas.artifacts.scores import AttackScore, Curve, Score

EPSILON = 8 / 255
SETTINGS = {"step_size": EPSILON / 4, "steps": 100, "restarts": 2, "start": "uniform", "loss": "ce then margin"}


def scores(kind="student", label="Student", right=30):
    attack = AttackScore.of(right - 10, 40, epsilon=EPSILON, settings=SETTINGS)
    auto = AttackScore.of(right - 12, 40, epsilon=EPSILON, settings={"version": "standard"})
    points = ((0.0, Score.of(right, 40)), (EPSILON, Score.of(right - 10, 40)))
    return ModelScores(
        kind=kind,
        label=label,
        params=1000,
        macs=None,
        clean=Score.of(right, 40),
        attacks={"pgd_100": attack, "auto_attack": auto},
        epsilons={"2/255": {"pgd_100": dataclasses.replace(attack, epsilon=2 / 255)}},
        curve=Curve("pgd_20_step_0.8", points),
    )


@pytest.fixture
def evaluation():
    models = {"student": scores(), "baseline_trades": scores("method", "TRADES", 20)}
    return Evaluation(models, {"name": "digits"}, "linf", 7, {"jax": "0.10.2"})


@pytest.fixture
def content(evaluation):
    return copy.deepcopy(evaluation.to_json())


def test_what_is_written_is_read(tmp_path, evaluation):
    evaluation.write(tmp_path / "evaluation.json")
    assert Evaluation.read(tmp_path / "evaluation.json") == evaluation
    scores().write(tmp_path / "student.json")
    assert ModelScores.read(tmp_path / "student.json") == scores()


def test_the_figures_of_the_student_stand_on_top(content):
    assert content["clean"] == {"accuracy": 0.75, "count": 40, "interval": list(Score.of(30, 40).interval)}
    assert content["pgd_100"] == {"epsilon": EPSILON, **SETTINGS, **Score.of(20, 40).to_json()}
    assert content["models"]["student"].items() >= {"kind": "student", "label": "Student", "params": 1000}.items()


def test_a_file_of_an_earlier_version_is_refused(tmp_path, content):
    del content["format"]
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"evaluation\.json has no format, expected 2: an earlier version wrote it"):
        Evaluation.read(path)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["models", "student", "clean", "accuracy"], 1.5, r"clean\.accuracy: expected less than or equal to 1, got"),
        (["models", "student", "pgd_100", "epsilon"], "8/255", r"models\.student\.pgd_100\.epsilon: expected a valid"),
        (["models", "student", "kind"], "friend", rf"models\.student\.kind: expected '{KINDS[0]}', '{KINDS[1]}'"),
        (["models", "student", "curve", "points"], {}, r"models\.student\.curve\.points: expected a list"),
        (["models", "student", "clean", "interval"], [0.1], r"student\.clean\.interval\[1\]: expected a value"),
        (["models", "baseline_trades", "label"], None, r"models\.baseline_trades\.label: expected a text"),
        (["models"], {}, r"student: expected an object, which is missing"),
        (["seed"], True, r"seed: expected a valid integer, got True"),
    ],
)  # fmt: skip
def test_wrong_content_is_named(tmp_path, content, keys, value, message):
    *path, last = keys
    entry = content
    for key in path:
        entry = entry[key]
    entry[last] = value
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"evaluation\.json .*{message}"):
        Evaluation.read(tmp_path / "evaluation.json")


def test_example_images_go_there_and_back(tmp_path):
    images = np.zeros((2, 4, 4, 1), np.float32)
    labels = np.arange(2)
    ExampleImages(images, images + 1, labels, labels, labels).write(tmp_path / "adversarial.npz")
    read = ExampleImages.read(tmp_path / "adversarial.npz")
    assert np.all(read.adversarial == 1)
    assert list(read.labels) == [0, 1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"adversarial": np.zeros((2, 4, 4, 3))}, "adversarial \\(2, 4, 4, 3\\).* expected one shape"),
        ({"labels": np.zeros(3)}, "labels \\(3,\\).* and \\[n\\] of all others"),
    ],
)
def test_example_images_of_other_shapes_are_refused(tmp_path, changed, message):
    images = np.zeros((2, 4, 4, 1), np.float32)
    labels = np.arange(2)
    dataclasses.replace(ExampleImages(images, images, labels, labels, labels), **changed).write(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=rf"a\.npz has .*{message}"):
        ExampleImages.read(tmp_path / "a.npz")


def test_missing_arrays_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.npz cannot be read .*; expected arrays images, adversarial"):
        ExampleImages.read(tmp_path / "a.npz")
