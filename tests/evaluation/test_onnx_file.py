"""ONNX files under attack without gradients: answers, what is refused, and a whole evaluation."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from rnas.artifacts.attack import AttackSummary, Images, Threat
from rnas.attacks import square
from rnas.cli import platform
from rnas.data.datasets import Split
from rnas.evaluation import EvaluatedModel, Settings, assess, sanity
from rnas.evaluation.onnx_file import OnnxFile
from rnas.main import main

pytest.importorskip("onnxruntime", reason="runs ONNX by onnxruntime, which is not installed")
onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.usefixtures("brief")

SHAPE, CLASSES, COUNT = (3, 4, 2), 5, 12  # [H, W, C], no two alike
THREAT = Threat.of("0.02")


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).standard_normal((*SHAPE, CLASSES)).astype(np.float32)


def linear(weights, *, shape=("N", 2, 3, 4), kind=onnx.TensorProto.FLOAT, cut=False, card=None) -> bytes:
    """A file that gives Σ pixels · weights [H, W, C, K]; images have channels first."""
    helper = onnx.helper
    matrix = weights.transpose(2, 0, 1, 3).reshape(-1, CLASSES)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("Gemm", ["flat", "w"], ["logits"])]
    if cut:
        nodes[1:] = [helper.make_node("Gemm", ["flat", "w"], ["y"]), helper.make_node("Softmax", ["y"], ["z"]),
                     helper.make_node("ArgMax", ["z"], ["logits"], axis=1, keepdims=1)]  # fmt: skip
    given = helper.make_tensor_value_info("logits", onnx.TensorProto.INT64 if cut else kind, [None, None])
    taken = helper.make_tensor_value_info("x", kind, shape)
    graph = helper.make_graph(nodes, "linear", [taken], [given], [onnx.numpy_helper.from_array(matrix, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {} if card is None else {"card": json.dumps(card)})
    return model.SerializeToString()


@pytest.fixture
def images():
    return np.random.default_rng(1).random((COUNT, *SHAPE), np.float32)


def test_it_answers_as_the_model_does(weights, images):
    file = OnnxFile(linear(weights), "linear.onnx")
    model = file.evaluated(name="linear", source="here")
    expected = images.reshape(COUNT, -1) @ weights.reshape(-1, CLASSES)
    np.testing.assert_allclose(jax.jit(model.predict)(model.variables, images), expected, rtol=1e-5, atol=1e-5)
    pairs = jax.vmap(lambda rows: model.predict(None, rows))(images.reshape(2, COUNT // 2, *SHAPE))
    np.testing.assert_allclose(pairs.reshape(COUNT, CLASSES), expected, rtol=1e-5, atol=1e-5)
    assert (file.image_shape, file.classes, file.card, model.differentiable) == (SHAPE, CLASSES, {}, False)
    same, other = (OnnxFile(linear(w), "").evaluated(name="a", source="") for w in (weights, weights + 1e-6))
    assert model.hash == same.hash != other.hash


def test_square_finds_what_it_finds_on_the_same_model_in_jax(weights, images):
    file = OnnxFile(linear(weights), "linear.onnx").evaluated(name="linear", source="here")
    labels = (images.reshape(COUNT, -1) @ weights.reshape(-1, CLASSES)).argmax(1)
    settings = dict(epsilon=0.02, key=jax.random.key(0), queries=50)
    theirs = square(lambda x: file.predict(None, x), images, labels, **settings)
    ours = square(lambda x: jax.numpy.einsum("nhwc,hwck->nk", x, weights), images, labels, **settings)
    assert 0 < ours.success.sum() < COUNT
    np.testing.assert_array_equal(theirs.success, ours.success)
    np.testing.assert_allclose(theirs.images, ours.images, atol=1e-6)


def test_an_evaluation_without_gradients(weights, images, tmp_path):
    """Square and transferred images are counted; checks that need gradients are skipped, and say why."""
    labels = (images.reshape(COUNT, -1) @ weights.reshape(-1, CLASSES)).argmax(1)
    split, data = Split(images, labels, np.arange(COUNT)), Images("noise", "test")
    original = EvaluatedModel(
        "linear", "f00d", CLASSES, predict=lambda w, x: jax.numpy.einsum("nhwc,hwck->nk", x, w), variables=weights
    )
    quick = Settings(attack="pgd_5", batch_size=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanity, "run_checks", lambda *_: [])  # of the model that gives the images
        white_box = assess(original, split, data, THREAT, quick, tmp_path / "white")
    assert 0 < white_box.robust.accuracy < 1
    model = OnnxFile(linear(weights), "linear.onnx").evaluated(name="file", source="linear.onnx")
    blind = dataclasses.replace(quick, attack="square", transfer=(str(tmp_path / "white"),))
    found = assess(model, split, data, THREAT, blind, tmp_path / "blind")
    # The same model in another program: it is fooled by the same images.
    assert found.clean.accuracy == 1.0 and found.transfer[0].score == white_box.robust
    assert [row.name for row in found.attacks] == ["square"] and found.curve.points == ()
    status = {check.letter: (check.status, check.figure) for check in found.checks}
    assert {letter for letter, (word, _) in status.items() if word == "skipped"} == set("BCDEFH")
    assert {status[letter][1] for letter in "BCDEFH"} == {"the model has no gradient"}
    assert all(status[letter][0] == "passed" for letter in "AGIK")
    assert AttackSummary.read(tmp_path / "blind" / "attack.json").model.differentiable is False
    with pytest.raises(ValueError, match="pgd_5,square: this model is known by its answers alone"):
        assess(model, split, data, THREAT, dataclasses.replace(quick, attack="pgd_5,square"), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    with pytest.raises(ValueError, match="it has no gradient: attack it by square"):
        jax.grad(lambda x: model.predict(None, x).sum())(images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(shape=(1, 2, 3, 4)), r"takes tensor\(float\) \[1, 2, 3, 4\]; expected .* any number N of images"),
        (dict(shape=("N", 2, "H", "W")), "with fixed C, H and W"),
        (dict(kind=onnx.TensorProto.DOUBLE), r"takes tensor\(double\)|is no ONNX file that onnxruntime runs"),
        (dict(cut=True), r"gives int64 \[1, 1\] for one image; expected float32 \[1, K\]"),
    ],
)
def test_what_is_no_classifier_is_refused(options, message, weights):
    with pytest.raises(ValueError, match=message):
        OnnxFile(linear(weights, **options), "model.onnx")


def test_files_that_the_command_refuses(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(platform, "prepare", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.onnx").write_bytes(b"damaged")
    (tmp_path / "plain.onnx").write_bytes(linear(weights))
    (tmp_path / "own.onnx").write_bytes(linear(weights, card={"dataset": "digits"}))
    for argv, message in (
        (["--onnx=there.onnx"], "there is no file there.onnx"),
        (["--onnx=damaged.onnx"], "damaged.onnx is no ONNX file that onnxruntime runs"),
        (["--onnx=plain.onnx"], "does not name the data it was trained on; give --dataset"),
        (["--onnx=own.onnx"], "has 5 classes; 'digits' has images of"),
        (["--onnx=own.onnx", "--torch=a.py:load"], "name one model: --torch=MODULE:FUNCTION, --onnx=FILE"),
    ):
        assert main(["attack", *argv, "--attack=square", "--epsilon=0.1"]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "attacks").exists()
