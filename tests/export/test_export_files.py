"""Exported files, opened by the tools that they are for: they compute what the model computes, for any batch."""

import ast
import dataclasses

import jax
from jax import export as jax_export
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
import small_networks as networks

from rnas.evaluation import evaluated_teacher
from rnas.export import FORMATS, export, formats
from rnas.export.graph import Graph, Step
from rnas.export.onnx_model import onnx_model
from rnas.export.torch_code import torch_code
from rnas.export.traced_program import BATCH, read_graph
from rnas.teachers import content_hash, import_torch, load_teacher

ALL = [*networks.STUDENTS, *networks.TEACHERS]
EACH = [name if name in networks.FEW else pytest.param(name, marks=pytest.mark.slow) for name in ALL]


def images_for(model, count, seed=7):
    return np.random.default_rng(seed).random((count, *model.image_shape), np.float32)


def first(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def assert_near(found, expected, limit=1e-5):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit * np.abs(expected).max())


@pytest.mark.parametrize("name", EACH)
def test_onnx(name, model_named, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX by onnxruntime, which is not installed")
    model, path = model_named(name), tmp_path / "model.onnx"
    done = export(model, "onnx", path)
    assert done.files == (path,) and done.differences["logits"] < 1e-5
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = images_for(model, 4)
    expected = np.asarray(model.logits(images))
    assert np.abs(expected - expected[:1]).max() > 0.01  # the logits depend on the image
    for rows in (images, images[:1]):
        (found,) = session.run(None, {"images": first(rows)})
        assert_near(found, expected[: len(rows)])
    assert networks.card_of(session.get_modelmeta().custom_metadata_map)["hash"] == model.card.hash


@pytest.mark.parametrize("name", EACH)
def test_torch(name, model_named, tmp_path):
    torch = pytest.importorskip("torch", reason="runs the module by PyTorch, which is not installed")
    model, path = model_named(name), tmp_path / "model.py"
    done = export(model, "torch", path)
    assert done.differences["logits"] < 1e-5 and done.differences["gradients"] < 1e-4
    text = path.read_text()
    assert "rnas." not in text and "import rnas" not in text and max(map(len, text.splitlines())) < 160
    names = {"__file__": str(path), "__name__": "model"}
    exec(compile(text, str(path), "exec"), names)
    network = names["load"]()
    images = images_for(model, 4)
    pixels = torch.tensor(first(images), requires_grad=True)
    logits = network(pixels)
    assert_near(logits.detach().numpy(), np.asarray(model.logits(images)))
    assert sum(each.numel() for each in network.parameters()) == model.card.params


def test_the_state_of_a_teacher_is_a_checkpoint_that_can_be_imported(model_named, tmp_path):
    pytest.importorskip("torch", reason="runs the module by PyTorch, which is not installed")
    model = model_named("ra_wide_resnet_1-1-2_w8-8-16-12")
    _, state = export(model, "torch", tmp_path / "teacher.py").files
    teacher = import_torch(state, normalization=(model.card.mean, model.card.std), architecture=model.card.architecture)
    assert teacher.hash == content_hash(model.variables)


def test_names_of_tensors_are_those_of_the_published_checkpoints(model_named, tmp_path):
    """So that other programs read the exported weights of a teacher, and rnas itself does."""
    import torch_networks as nets

    model = model_named("ra_wide_resnet_1-1-2_w8-8-16-12")
    graph = read_graph(model.evaluated.predict, model.variables, model.image_shape)
    published = nets.deepmind((1, 1, 2), (8, 16, 12), networks.CLASSES, stem=8, squeeze=True)
    published = {name: shape for name, shape in published.items() if "num_batches" not in name}
    published["init_conv.weight"] = (8, 1, 3, 3)  # of a grey image
    assert {name: array.shape for name, array in graph.tensors.items()} == published


@pytest.mark.parametrize("name", ["widths", "cells of DSARA"])
def test_safetensors_hold_the_variables_bit_for_bit(name, model_named, tmp_path):
    model, path = model_named(name), tmp_path / "model.safetensors"
    export(model, "safetensors", path)
    found = load_file(path)
    leaves = jax.tree_util.tree_leaves_with_path(model.variables)
    assert len(found) == len(leaves)
    for keys, leaf in leaves:
        np.testing.assert_array_equal(found["/".join(key.key for key in keys)], leaf)
    with safe_open(path, "np") as stored:
        assert networks.card_of(stored.metadata()) == model.card.to_json()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_stablehlo(name, model_named, tmp_path):
    model, path = model_named(name), tmp_path / "model.stablehlo"
    done = export(model, "stablehlo", path)
    assert done.differences["logits"] < 1e-5
    program = jax_export.deserialize(bytearray(path.read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    images = images_for(model, 2)
    assert_near(np.asarray(program.call(images)), np.asarray(model.logits(images)))


def test_a_program_can_be_attacked_where_rnas_is_not(model_named, tmp_path):
    """It can be differentiated: the gradient is that of the model."""
    model, path = model_named("widths"), tmp_path / "model.stablehlo"
    export(model, "stablehlo", path)
    program = jax_export.deserialize(bytearray(path.read_bytes()))
    images = images_for(model, 2)
    own, theirs = (
        jax.grad(lambda x, f=f: (f(x)[:, 0] - f(x)[:, 1]).sum())(images) for f in (model.logits, program.call)
    )
    assert_near(np.asarray(theirs), np.asarray(own), 1e-4)


def test_a_card_puts_no_code_into_the_module(model_named, tmp_path):
    """The name of the data comes from a teacher's card, which others may have written."""
    pytest.importorskip("torch", reason="runs the module by PyTorch, which is not installed")
    model = model_named("widths")
    for number, name in enumerate(('"""; raise SystemExit("run") #', "\\", 'a\\"""; raise SystemExit("run") #')):
        hostile = dataclasses.replace(model, card=dataclasses.replace(model.card, dataset=name))
        path = tmp_path / f"model{number}.py"
        export(hostile, "torch", path)
        assert name in ast.get_docstring(ast.parse(path.read_text()))


def test_a_teacher_of_some_of_its_classes(tmp_path):
    """As a run has it whose data set has fewer classes: logits are chosen and put in order."""
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX by onnxruntime, which is not installed")
    whole = networks.teacher("wide_resnet_10_1", tmp_path / "teacher")
    some = evaluated_teacher(load_teacher(tmp_path / "teacher").restricted((3, 0, 4)), whole.image_shape, source="")
    graph = read_graph(some.predict, some.variables, whole.image_shape)
    session = runtime.InferenceSession(onnx_model(graph, "some", {}).SerializeToString())
    images = images_for(whole, 3)
    (found,) = session.run(None, {"images": first(images)})
    assert_near(found, np.asarray(whole.logits(images))[:, [3, 0, 4]])
    assert "[:, [3, 0, 4]]" in torch_code(graph, "some", "", "some.safetensors")


def test_reading_a_network_leaves_no_trace_of_it(model_named):
    """JAX keeps what it has traced of a function, for the shapes that it was traced for."""
    model = model_named("widths")
    images = images_for(model, BATCH)
    graph = read_graph(model.evaluated.predict, model.variables, model.image_shape)
    logits = jax.jit(model.evaluated.predict)(model.variables, images)
    np.testing.assert_allclose(logits, model.logits(images), rtol=1e-5, atol=1e-5)
    again = read_graph(model.evaluated.predict, model.variables, model.image_shape)
    assert again.steps == graph.steps


# -- what is not kept ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_file_that_computes_something_else_is_not_kept(kind, model_named, tmp_path, monkeypatch):
    pytest.importorskip({"onnx": "onnxruntime", "torch": "torch"}[kind], reason="which runs the file")
    model = model_named("widths")

    def damaged(*arguments):
        graph = read_graph(*arguments)
        graph.tensors["classifier.bias"] = graph.tensors["classifier.bias"] + 0.01
        return graph

    monkeypatch.setattr(formats, "read_graph", damaged)
    with pytest.raises(
        ValueError, match="does not compute what the model computes: its logits differ by .*No file was"
    ):
        export(model, kind, tmp_path / f"model{FORMATS[kind][0]}")
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_expressed_is_named(model_named):
    model = model_named("widths")
    for function, reason in (
        (lambda variables, images: jax.numpy.sort(images.sum((1, 2))), "the operation sort"),
        (lambda variables, images: images.sum((1, 2)) * variables["params"]["classifier"]["bias"][0], "a parameter"),
    ):
        with pytest.raises(ValueError, match=f"cannot be exported: it holds {reason}"):
            read_graph(function, model.variables, model.image_shape)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step("average_pool", (-1,), dict(size=(3, 3), stride=2, padding=((0, 1), (0, 1)))), "is unequal, as here"),
        (Step("cumulate", (-1,), {}), "the operation 'cumulate' of this network is not known in PyTorch code"),
    ],
)
def test_what_pytorch_code_cannot_express_is_named(step, message):
    steps = (step, Step("linear", (0,), dict(name="classifier", channels=4, features=2, bias=True)))
    with pytest.raises(ValueError, match=message):
        torch_code(Graph(steps, {}, (8, 8, 1)), "some", "", "some.safetensors")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("onnx", "model.pb", "a file of the format onnx has a name that ends in .onnx"),
        ("torch", "model", "ends in .py"),
        (
            "tflite",
            "model.tflite",
            "unknown format 'tflite'; expected one of safetensors, torch, onnx, int8, stablehlo, card",
        ),
    ],
)
def test_other_formats_and_endings_are_refused(kind, name, message, model_named, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(model_named("widths"), kind, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(model_named, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"onnx, which is not installed: pip install 'rnas\[export\]'"):
        export(model_named("widths"), "onnx", tmp_path / "model.onnx")
