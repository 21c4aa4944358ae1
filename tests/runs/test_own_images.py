"""From pictures of one's own to their evaluation, by the commands that a user types."""

import json

import numpy as np
from own_images import SHAPES, draw_folder
import pytest

import rnas
from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.evaluation import Evaluation
from rnas.config import load_config
from rnas.data import load_dataset
from rnas.main import main
from rnas.runs.description import describe
from rnas.runs.stages import open_run

OWN = "configs/own_data.py"


def test_the_cost_is_known_beforehand(own_set, tmp_path):
    config = load_config(OWN, [f"--config.data.dir={own_set}"])
    speeds = dict.fromkeys(("student", "teacher", "supernet"), 1e9)
    found = describe(config, tmp_path, measure=lambda run: speeds)
    assert (found["num_classes"], found["image_shape"]) == (3, [32, 32, 3])
    assert found["cost"]["training_images"] == 240 - config.data.held_out
    assert found["cost"]["all"]["seconds"] > 0 and found["teacher"]["macs"] > found["supernet"]["macs"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.num_classes=4", r"data.num_classes=4, .* do not fit dataset 'shapes', which has 3 classes"),
        ("data.image_shape=(32, 30, 3)", r"data.image_shape=\(32, 30, 3\) do not fit .* images of \(32, 32, 3\)"),
        ("data.name=photos", "is the set 'shapes', not 'photos'"),
    ],
)
def test_a_configuration_that_is_of_another_set_names_both(own_set, tmp_path, override, message):
    run = open_run(load_config(OWN, [f"--config.data.dir={own_set}", f"--config.{override}"]), tmp_path)
    with pytest.raises(ValueError, match=message):
        _ = run.dataset


@pytest.mark.slow
def test_pictures_become_an_evaluated_student(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    draw_folder(tmp_path / "pictures", size=16)
    assert main(["data", "import", str(tmp_path / "pictures"), f"--output={tmp_path / 'shapes'}", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    own = f"--config.data.dir={tmp_path / 'shapes'}"
    assert main(["run", f"--config={OWN}:smoke", own, f"--workdir={tmp_path / 'run'}"]) == 0
    evaluation = Evaluation.read(tmp_path / "run" / "evaluation.json")
    assert evaluation.dataset["class_names"] == list(SHAPES)  # by which the page names its examples
    assert evaluation.dataset["name"] == "shapes/1.0.0" and set(evaluation.models) >= {"student", "teacher"}
    (attack,) = (tmp_path / "run" / "attacks").rglob("attack.json")
    assert AttackSummary.read(attack).dataset.class_names == SHAPES and (tmp_path / "run" / "report.html").exists()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    np.testing.assert_array_equal(config["data"]["mean"], made["mean"])
    assert main(["run", f"--workdir={tmp_path / 'run'}"]) == 0
    assert "nothing to do" in capsys.readouterr().err

    onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the exported student")
    file = tmp_path / "student.onnx"
    assert main(["export", f"--workdir={tmp_path / 'run'}", "--format=onnx", f"--output={file}"]) == 0
    test = load_dataset("shapes", data_dir=tmp_path / "shapes", held_out=0, seed=0).test
    images = test.images.astype(np.float32) / 255
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": np.moveaxis(images, -1, 1)})
    expected = rnas.load(tmp_path / "run").logits(images)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    clean = evaluation.student.clean
    right = (found.argmax(1) == test.labels)[: clean.count]
    assert len(right) == clean.count and clean.accuracy == pytest.approx(right.mean())
