"""`rnas export --format=int8`: what is quantised and by which images, and the figures that are counted again here."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from untrained_run import write_untrained_run

import rnas
from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.quantized_model import QuantizedModel
from rnas.config.load import load_config
from rnas.evaluation import Settings, Threat, assess_dataset
from rnas.export import deployment, export
from rnas.export.formats import onnx_file
from rnas.export.quantization import calibration_images, quantized_onnx
from rnas.main import main

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime", reason="quantises by onnxruntime, which is not installed")
pytestmark = pytest.mark.usefixtures("quick_attacks", "brief")

COUNT = 40
CELL = [
    "--config.genotype=9930", "--config.train.channels=8", "--config.train.cells=1", "--config.baselines=()",
    "--config.validation.count=0", "--config.evaluation.epsilons=('0.1',)", "--config.evaluation.batch_size=40",
    f"--config.evaluation.auto_attack_count={COUNT}",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = load_config("configs/robbench/digits_search.py", CELL)
    return rnas.load(write_untrained_run(tmp_path_factory.mktemp("run") / "run", config, random_statistics=True))


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    """The float file and the int8 file, as bytes, and the images of calibration."""
    path = tmp_path_factory.mktemp("int8") / "student.onnx"
    done = export(model, "int8", path)
    assert done.files == (path,) and 0 <= done.differences["predictions"] < 0.3
    return SimpleNamespace(path=path, float32=onnx_file(model, figures=False), images=calibration_images(model).pixels)


def weights_of(content: bytes) -> dict[str, np.ndarray]:
    return {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load_from_string(content).graph.initializer}


def logits_of(content: bytes, images: np.ndarray) -> np.ndarray:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
    return found


def test_weights_are_rounded_channel_by_channel(file):
    """Of the classifier, in front of which nothing is folded: w ≈ s_k · q with s_k = max|w_k| / 127."""
    weight = weights_of(file.float32)["classifier.weight"]  # [K, C]
    found = weights_of(file.path.read_bytes())
    whole = next(array for name, array in found.items() if name == "classifier.weight_quantized")
    assert whole.dtype == np.int8
    whole, axis = (whole, 0) if whole.shape == weight.shape else (whole.T, 0)
    expected = np.abs(weight).max(axis=1) / 127
    np.testing.assert_allclose(found["classifier.weight_scale"], expected, rtol=1e-5)
    assert np.abs(weight - expected[:, None] * whole).max(axis=1) == pytest.approx(expected / 2, rel=0.2)
    kernels = [name for name, array in found.items() if array.ndim == 4]
    assert kernels and all(found[name].dtype == np.int8 for name in kernels)


def test_the_images_set_the_ranges(file):
    """Darker images, smaller ranges: what lies outside of them is cut off."""
    bright = logits_of(file.path.read_bytes(), file.images)
    dark = logits_of(quantized_onnx(file.float32, 0.1 * file.images), file.images)
    expected = logits_of(file.float32, file.images)
    error = [np.sqrt(np.mean(np.square(found - expected))) for found in (bright, dark)]
    assert error[0] < 0.1 * expected.std() and error[1] > 2 * error[0]


def test_calibration_sees_no_test_image(model):
    run, dataset = model.run, model.run.dataset
    found = calibration_images(model)
    assert found.split == "validation" and len(found.pixels) == min(512, len(dataset.validation))
    held_out = {image.tobytes() for image in dataset.validation.images.astype(np.float32) / np.float32(255)}
    assert all(image.tobytes() in held_out for image in found.pixels)
    none = dataclasses.replace(dataset, validation=dataset.validation.take(np.arange(0)))
    without = dataclasses.replace(model, run=SimpleNamespace(dataset=none))
    assert calibration_images(without).split == "train" and len(calibration_images(without).pixels) == 512
    assert run is model.run
    with pytest.raises(ValueError, match="give a model of a run by --workdir"):
        calibration_images(dataclasses.replace(model, run=None))
    streamed = dataclasses.replace(none, train=object())
    with pytest.raises(ValueError, match="streams its training images"):
        calibration_images(dataclasses.replace(model, run=SimpleNamespace(dataset=streamed)))


def pgd_for_auto_attack(run, model, report):
    """So that the test takes seconds."""
    settings = Settings(attack="pgd_5", batch_size=COUNT)
    return assess_dataset(
        model, run.dataset, Threat.of("0.1"), settings, run.workdir / "attacks", count=COUNT, report=report
    )


@pytest.mark.slow
def test_the_figures_are_those_of_the_files(model, tmp_path, monkeypatch, read_page):
    monkeypatch.setattr(deployment, "auto_attack", pgd_for_auto_attack)
    path, out, workdir = tmp_path / "export" / "student.onnx", io.StringIO(), model.run.workdir
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert main(["export", f"--workdir={workdir}", "--format=int8", f"--output={path}"]) == 0
    assert f"{path}; run back, its predictions differ by" in out.getvalue()
    assert "size on disk" in out.getvalue() and "Square" in out.getvalue()
    found = QuantizedModel.read(workdir / "quantized" / "student.json")
    assert (found.model, found.hash, found.calibration_split) == ("student", model.card.hash, "validation")
    assert found.images.split == "test" and found.images.count == COUNT and found.threat.epsilon_text == "0.1"
    test = model.run.dataset.test
    images, labels = test.images[:COUNT].astype(np.float32) / np.float32(255), test.labels[:COUNT]
    (white_box,) = workdir.glob("attacks/*")
    stored = np.load(white_box / "adversarial.npz")
    adversarial = images.copy()
    adversarial[stored["row"]] = stored["images"]
    for file, content in ((found.float32, onnx_file(model, figures=False)), (found.int8, path.read_bytes())):
        assert file.bytes == len(content)
        for score, shown in ((file.clean, images), (file.transfer, adversarial)):
            right = (logits_of(content, shown).argmax(1) == labels).sum()
            assert (score.count, round(score.accuracy * COUNT)) == (COUNT, right)
        assert file.square.accuracy <= file.clean.accuracy
        (folder,) = workdir.glob(f"quantized/*_{file.hash[:12]}")
        summary = AttackSummary.read(folder / "attack.json")
        assert summary.robust == file.square and not summary.model.differentiable and (folder / "report.html").is_file()
    # The float file is the float network: what fooled that fools it.
    assert found.float32.transfer == found.white_box
    said = read_page(workdir / "report.html").said()
    assert "As deployed" in said and f"{found.int8.bytes:,}" in said and "Under AutoAttack" in said
    again = io.StringIO()
    with contextlib.redirect_stdout(again), contextlib.redirect_stderr(io.StringIO()):
        main(["export", f"--workdir={workdir}", "--format=int8", f"--output={path}", "--json"])
    assert json.loads(again.getvalue())["quantized"] == found.to_json()
    assert Path(json.loads(again.getvalue())["files"][0]) == path
