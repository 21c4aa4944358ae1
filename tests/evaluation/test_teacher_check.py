"""A look at a teacher on labelled images: its figures, and the hint at a wrong normalisation."""

import argparse
import io
import json
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds
from torch_files import write_pt
import torch_networks as nets

from rnas.cli import platform
from rnas.data.datasets import open_builder, read_split
from rnas.data.digits import prepare_digits
from rnas.evaluation import Evaluator
from rnas.evaluation.teacher_check import as_text, check_teacher, first_images, hints, seen_by
from rnas.main import main
from rnas.models import build_model
from rnas.teachers import load_teacher, save_teacher
from rnas.teachers.normalization import NAMED

SHAPE = (8, 8, 1)
COUNT = 150


@pytest.fixture(autouse=True)
def _settings_of_the_tests(monkeypatch):
    monkeypatch.setattr(platform, "prepare", lambda *_: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    prepare_digits(folder)
    return folder


@pytest.fixture(scope="module")
def variables(data):
    """A random network whose last layer is fitted to the digits by least squares; it sees 2 x - 1."""
    train = read_split(open_builder("digits", data), "train")
    pixels = jnp.float32(train.images) / 255
    model = build_model("wide_resnet_10_1", num_classes=64, mean=(0.5,), std=(0.5,), momentum=0.0)

    @jax.jit
    def features(pixels):
        variables = model.init(jax.random.key(0), pixels)
        _, moved = model.apply(variables, pixels, train=True, mutable="batch_stats")
        variables = {**variables, **moved}
        seen = {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}
        probe = {**variables, "params": {**variables["params"], "fc": seen}}
        return variables, model.apply(probe, pixels)[0]

    variables, seen = features(pixels)
    seen = np.c_[np.asarray(seen, np.float64), np.ones(len(seen))]
    target = 4.0 * np.eye(10)[train.labels]
    weights = np.linalg.solve(seen.T @ seen + 1e-3 * np.eye(65), seen.T @ target)
    fitted = {"kernel": np.float32(weights[:-1]), "bias": np.float32(weights[-1])}
    return jax.device_get({**variables, "params": {**variables["params"], "fc": fitted}})


def saved(path, variables, mean, std, origin=None):
    model = build_model("wide_resnet_10_1", num_classes=10, mean=mean, std=std)
    save_teacher(path, model, variables, architecture="wide_resnet_10_1", image_shape=SHAPE, origin=origin or {})
    return path


@pytest.fixture(scope="module")
def right(tmp_path_factory, variables, data):
    path = saved(tmp_path_factory.mktemp("right") / "teacher", variables, (0.5,), (0.5,))
    return path, check_teacher(path, "digits", data_dir=data, count=COUNT, epsilon="4/255")


def test_accuracies_are_those_of_the_model(right, data):
    path, result = right
    teacher = load_teacher(path)
    test = read_split(open_builder("digits", data), "test")
    logits, _ = jax.jit(teacher.apply)(teacher.variables, np.float32(test.images[:COUNT]) / 255)
    accuracy = float(np.mean(np.argmax(logits, -1) == test.labels[:COUNT]))
    assert result["clean"]["accuracy"] == pytest.approx(accuracy, abs=1 / COUNT) and accuracy > 0.8
    assert result["clean"]["count"] == result["pgd_20_step_0.8"]["count"] == COUNT
    assert result["pgd_20_step_0.8"]["epsilon"] == pytest.approx(4 / 255) and result["pgd_20_step_0.8"]["steps"] == 20
    assert result["pgd_20_step_0.8"]["accuracy"] < result["clean"]["accuracy"]
    assert result["normalization"]["name"] == "half" and set(result["other_normalizations"]) == {"none"}
    assert not any("normalisation" in hint for hint in result["hints"])


def test_a_wrong_normalisation_shows(right, variables, data, tmp_path, monkeypatch, capsys):
    """The same weights under a card that says 'none': under 'half' they are as good as under the right card."""
    _, true = right
    nothing_fooled = np.zeros(COUNT, bool)
    monkeypatch.setattr(Evaluator, "attack", lambda self, _, split, *rest: (nothing_fooled[: len(rest[-1])], None))
    path = saved(tmp_path / "teacher", variables, (0.0,), (1.0,))
    arguments = ["teacher", "check", str(path), "--dataset=digits", f"--data-dir={data}", f"--count={COUNT}"]
    assert main([*arguments, "--json"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result["other_normalizations"]["half"] == pytest.approx(true["clean"]["accuracy"], abs=1 / COUNT)
    assert result["clean"]["accuracy"] < true["clean"]["accuracy"] - 0.1
    (hint,) = result["hints"]
    assert "the normalisation looks wrong: with 'half'" in hint and "--normalization=half" in hint
    text = as_text(result)
    assert text.startswith("wide_resnet_10_1 at ") and f"first {COUNT} test images" in text and f"  ! {hint}" in text


def test_published_figures_are_shown_beside_those_of_the_same_set(right, variables, data, tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluator, "attack", lambda self, _, split, *rest: (np.zeros(len(rest[-1]), bool), None))
    figures = {"name": "digits/X", "clean": 12.5, "autoattack": 5.25, "epsilon": "2/255"}
    for dataset, expected in (("digits", figures), ("cifar10", None)):
        origin = {"published": figures, "dataset": {"name": dataset}}
        path = saved(tmp_path / dataset, variables, (0.5,), (0.5,), origin)
        result = check_teacher(path, "digits", data_dir=data, count=COUNT)
        assert result["published"] == expected and result["pgd_20_step_0.8"]["epsilon"] == pytest.approx(2 / 255)
        assert ("published 12.50" in as_text(result)) == bool(expected) == bool(result["hints"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epsilon": "8"}, "is '8/255' meant"),
        ({"epsilon": ""}, "cannot read ''"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"seed": 2**32}, "seed must be a whole number from 0 to 4294967295"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(right, data, settings, words):
    with pytest.raises(ValueError, match=words):
        check_teacher(right[0], "digits", data_dir=data, **settings)


def test_images_that_do_not_fit_are_refused(right, data):
    path, _ = right
    with pytest.raises(ValueError, match="count must be a whole number of at least 1, got 0"):
        check_teacher(path, "digits", data_dir=data, count=0)
    with pytest.raises(ValueError, match="unknown dataset 'digit'"):
        check_teacher(path, "digit", data_dir=data)
    small = saved_with_classes(path, 7)
    with pytest.raises(ValueError, match=r"\(8, 8, 1\) and has 7 classes; 'digits' has images of \(8, 8, 1\) and 10"):
        check_teacher(small, "digits", data_dir=data)


class Grey(tfds.core.GeneratorBasedBuilder):
    """Pictures of different sizes, each of one brightness, in two classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(names="ab")}
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "validation": self._generate_examples()}

    def _generate_examples(self):
        for number in range(6):
            file = io.BytesIO()
            Image.fromarray(np.full((40 + 9 * number, 50, 3), 40 * number, np.uint8)).save(file, "PNG")
            yield number, {"image": file.getvalue(), "label": number % 2}


def test_images_of_different_sizes_are_brought_to_the_teachers(tmp_path):
    Grey(data_dir=str(tmp_path), file_format="array_record").download_and_prepare(download_dir=str(tmp_path / "d"))
    teacher = SimpleNamespace(image_shape=(28, 28, 3), num_classes=2, origin={})
    images = first_images(teacher, "grey", str(tmp_path), 5)
    assert images.images.shape == (5, 28, 28, 3) and images.images.dtype == np.uint8 and len(images) == 5
    brightness = images.images[:, 0, 0, 0]
    assert (images.images == brightness[:, None, None, None]).all()
    np.testing.assert_array_equal(images.labels, brightness // 40 % 2)
    # Of 40 + 9 n by 50 pixels; cropped to 60 by 60 as they are, what is missing is black.
    teacher = SimpleNamespace(image_shape=(60, 60, 3), num_classes=2, origin={"dataset": {"resize": None}})
    images = first_images(teacher, "grey", str(tmp_path), 6)
    brightness = images.images.max((1, 2, 3)).astype(int)
    seen = (images.images > 0).all(-1).sum((1, 2))
    np.testing.assert_array_equal(seen, [50 * min(40 + 9 * number, 60) * (number > 0) for number in brightness // 40])
    with pytest.raises(ValueError, match=r"has 3 classes; 'grey' has images of \(None, None, 3\) and 2 classes"):
        first_images(SimpleNamespace(image_shape=(28, 28, 3), num_classes=3), "grey", str(tmp_path), 5)


def saved_with_classes(path, classes):
    model = build_model("wide_resnet_10_1", num_classes=classes, mean=(0.5,), std=(0.5,))
    shapes = jax.eval_shape(lambda: dict(model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)))))
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    path = path.with_name(f"of_{classes}")
    save_teacher(path, model, variables, architecture="wide_resnet_10_1", image_shape=SHAPE, origin={})
    return path


# -- hints -----------------------------------------------------------------------------------------------


def hits(count, of=200, start=0):
    """So many images classified rightly, from a place on."""
    return np.roll(np.arange(of) < count, start)


@pytest.mark.parametrize(
    ("clean", "others", "robust", "published", "expected"),
    [
        (hits(170), {"none": hits(168)}, 0.5, 85.0, None),
        # Six more of 200 could be chance where 16 images differ, not where six do.
        (hits(170), {"none": hits(176, start=5)}, 0.5, 85.0, None),
        (hits(170), {"none": hits(176)}, 0.5, None, "with 'none' 88.0 % .* instead of 85.0 %"),
        (hits(170), {"none": hits(174)}, 0.5, None, None),  # no more than two in a hundred
        (hits(100), {"none": hits(120), "half": hits(150)}, 0.2, 85.0, "with 'half' 75.0 %"),
        (hits(20), {"none": hits(15)}, 0.0, 85.0, "no better than chance"),
        (hits(150), {}, 0.5, 85.0, "cifar10/X is published with 85.0 % .* usual causes"),
        (hits(160), {}, 0.5, 85.0, None),  # within what 200 images can say
        (hits(170), {}, 0.01, None, "PGD-20 fools almost every image"),
    ],
)
def test_hints(clean, others, robust, published, expected):
    known = published and {"name": "cifar10/X", "clean": published}
    found = hints(clean, others, robust, known, num_classes=10)
    if expected is None:
        assert found == []
    else:
        (hint,) = found
        assert re.search(expected, hint)


def test_another_normalisation_is_tried_without_another_program():
    """What the images are changed to gives, normalised by the one, what they give normalised by the other."""
    images = np.random.default_rng(0).random((4, 3, 3, 3), np.float32)
    own, other = NAMED["cifar10"], NAMED["imagenet"]
    shown = seen_by(own, other, images)
    ours, theirs = ((x - np.array(n.mean)) / np.array(n.std) for x, n in ((shown, own), (images, other)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


# -- the command -----------------------------------------------------------------------------------------

STATE = nets.filled(nets.wide(10, 1, 10))


def test_import_on_the_command_line(tmp_path, capsys):
    file, output = tmp_path / "trades.pt", tmp_path / "teacher"
    write_pt(file, {"state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}, "best": STATE})
    arguments = ["teacher", "import", str(file), "--architecture=wide_resnet_10_1", f"--output={output}"]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"rnas: {file}: it does not contain how images are normalised")
    assert not output.exists()
    assert main([*arguments, "--normalization=none"]) == 0
    said = capsys.readouterr().out
    teacher = load_teacher(output)
    assert teacher.architecture == "wide_resnet_10_1" and teacher.mean == (0.0,) * 3
    assert "wide_resnet_10_1 (WideResNet (TRADES)), 10 classes, 77,850 parameters" in said
    assert "state at 'state_dict'; not taken: 'best'; prefix 'module.' removed" in said
    assert "left out: 7 counters of BatchNorm" in said and "images: 32x32x3, no other size" in said
    assert "taps: 7, from conv1 to block3.layer.0.conv2" in said and f"written to {output}" in said
    assert main([*arguments, "--normalization=half"]) == 2
    assert f"there is something at {output} already" in capsys.readouterr().err
    assert load_teacher(output).hash == teacher.hash


def test_warnings_of_trust_are_loud(tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="reads a file by PyTorch, which is not installed")
    file = tmp_path / "old.pt"
    state = {name: torch.tensor(tensor) for name, tensor in STATE.items()}
    state = {"state_dict": state, "args": argparse.Namespace(lr=0.1)}
    torch.save(state, file, _use_new_zipfile_serialization=False)
    arguments = ["teacher", "import", str(file), "--normalization=none", f"--output={tmp_path / 'teacher'}"]
    assert main(arguments) == 2
    assert "--trust" in capsys.readouterr().err
    assert main([*arguments, "--trust"]) == 0
    assert "rnas: WARNING: " in capsys.readouterr().err


def test_help_lists_what_can_be_said(capsys):
    with pytest.raises(SystemExit):
        main(["teacher", "import", "--help"])
    shown = capsys.readouterr().out
    for word in ("--trust", "dm_wide_resnet_<depth>_<width>", "cifar10_madry", "cifar10/Zhang2019Theoretically"):
        assert word in shown
    with pytest.raises(SystemExit):
        main(["teacher", "--help"])
    shown = capsys.readouterr().out
    for action in ("train", "import", "check"):
        assert f"\n    {action} " in shown
