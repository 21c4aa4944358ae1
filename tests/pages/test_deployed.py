"""The network as it is deployed: what the page of a run shows of latency and of its int8 file."""

import json
from pathlib import Path

import pytest

from rnas.artifacts.attack import Images, Threat
from rnas.artifacts.latency import FILE, Latency, NetworkTiming, Timing
from rnas.artifacts.quantized_model import FOLDER, DeployedFile, QuantizedModel
from rnas.artifacts.scores import Score
from rnas.config import load_config
from rnas.pages import write_report
from rnas.pages.quantity import milliseconds
from rnas.pages.run_page import run_context

ROWS = (
    NetworkTiming("student", "jax", 350_000, 1, Timing(0.371, 0.32, 0.485, 2000)),
    NetworkTiming("student", "onnxruntime", 350_000, 1, Timing(0.0794, 0.07, 0.09, 1800)),
    NetworkTiming("student", "onnxruntime", 350_000, 128, Timing(42.9, 32.3, 51.0, 44)),
    NetworkTiming("teacher", "onnxruntime", 7_000_000, 1, Timing(1.5, 1.4, 1.6, 900)),
)


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text(load_config("configs/rnas_cl/digits.py", []).to_json())
    return tmp_path


def latency(rows=ROWS):
    return Latency("cpu", "some processor", 2, rows, {"jax": "1"})


def quantized():
    def file(size, *right):
        return DeployedFile(size, "f00d", *(Score.of(each, 200) for each in right))

    return QuantizedModel(
        "student", "Student", "cafe", "export/student.onnx", "validation", 300, Images("digits", "test", 200),
        Threat.of("0.1"), Score.of(120, 200), file(84_842, 190, 120, 150), file(65_618, 188, 124, 152), {"onnx": "1"},
    )  # fmt: skip


def test_nothing_is_shown_of_what_was_not_measured(workdir):
    context = run_context(workdir)
    assert "deployed" not in context["sections"]
    assert not any("Latency" in tile.title for tile in context["tiles"])


def test_latency_stands_beside_the_size(workdir, read_page):
    latency().write(workdir / FILE)
    context = run_context(workdir)
    (tile,) = [tile for tile in context["tiles"] if "Latency" in tile.title]
    assert tile.title == "Latency of an image, onnxruntime"
    assert (tile.figure, tile.beside) == ("0.0794\u202fms", {"teacher": "1.50\u202fms"})
    table = context["sections"]["deployed"].content["latency"]
    # 128 images in 42.9 ms are 2,984 a second.
    assert [cell.text for cell in table.rows[2]] == [
        "student",
        "350\u202fk",
        "onnxruntime",
        "128",
        "42.9",
        "2,984",
        "44",
    ]
    assert table.rows[2][4].below == "32.3\u201351.0"
    said = read_page(write_report(workdir)).said()
    assert "Measured on cpu and some processor, with 2 threads" in said
    latency(ROWS[:1]).write(workdir / FILE)
    assert [tile.title for tile in run_context(workdir)["tiles"]] == ["Latency of an image, JAX"]
    latency(ROWS[3:]).write(workdir / FILE)
    assert run_context(workdir)["tiles"] == []


def test_the_latency_of_a_former_student_is_not_that_of_this_one(workdir):
    latency().write(workdir / FILE)
    written = Path(__file__).parents[1] / "artifacts" / "written" / "architecture_widths.json"
    content = json.loads(written.read_text()) | {"params": 1000}
    for macs, count in ((350_000, 1), (350_001, 0)):
        (workdir / "architecture.json").write_text(json.dumps(content | {"macs": macs}))
        assert sum("Latency" in tile.title for tile in run_context(workdir)["tiles"]) == count


def test_an_int8_file_stands_beside_the_float_one(workdir, read_page):
    quantized().write(workdir / FOLDER / "student.json")
    (found,) = run_context(workdir)["sections"]["deployed"].content["quantized"]
    assert [[cell.text for cell in row] for row in found["table"].rows] == [
        ["float32", "84,842", "95.0", "60.0", "75.0"],
        ["int8", "65,618", "94.0", "62.0", "76.0"],
    ]
    said = read_page(write_report(workdir)).said()
    assert "300 images (held out) set the ranges" in said
    assert "the float network keeps 60.0 %" in said and "on 200 test images, L∞ ε = 0.1" in said


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.07944, "0.0794"), (0.371, "0.371"), (1.5, "1.50"), (42.94, "42.9"), (128.0, "128"), (1234.5, "1234")],
)
def test_three_figures_of_a_latency(number, text):
    assert milliseconds(number, unit=False) == text
