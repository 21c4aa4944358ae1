"""The page holds what the files say, correctly rounded, needs no network, and names what is missing."""

import base64
import io
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from rnas.pages import write_report

# Curves of five stages take most of the time; what does not look at them does without.
NO_CURVES = ("metrics.jsonl",)


def test_page_needs_nothing_but_itself(read_page, finished):
    page = read_page(finished)
    assert len(page.all("img")) == 1 + 1 + 1 + 5 + 3  # robustness, architecture, tutors, stages, images
    for image in page.all("img"):
        assert image["src"].startswith("data:image/png;base64,")
        assert image["alt"]
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "form")
        assert not {"srcset", "action", "background", "data"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    text = finished.read_text(encoding="utf-8")
    assert "http://" not in text and "https://" not in text and "url(" not in text and "@import" not in text


def test_links_lead_to_sections(read_page, finished):
    page = read_page(finished)
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {link["href"] for link in page.all("a")} == {f"#{anchor}" for anchor in anchors}


def test_pictures_are_saved_and_readable(read_page, finished):
    page = read_page(finished)
    saved = {path.read_bytes() for path in (finished.parent / "report").glob("*.png")}
    shown = {base64.b64decode(image["src"].split(",")[1]) for image in page.all("img")}
    assert shown == saved
    for png in shown:
        assert np.asarray(Image.open(io.BytesIO(png)).convert("L")).std() > 1  # not blank


def test_headline_beside_its_comparisons(read_page, finished):
    said = read_page(finished).said()
    assert "A student of 18,930 parameters keeps 61.3 % accuracy under PGD-100 at \u03b5 = 8/255" in said
    assert "right on 91.3 % of the test images" in said
    assert "the same network trained plainly keeps 2.5 %" in said
    assert "the teacher keeps 70.0 %" in said
    assert "MACs per image123 k" in said and "teacher4.20 M" in said


def test_accuracy_table_has_every_model_and_radius(read_page, finished):
    rows = read_page(finished).rows
    students = [[cell.replace("\u202f", " ").split() for cell in row] for row in rows if row[0].startswith("Student ")]
    students = [row for row in students if len(row) == 10]
    assert len(students) == 2  # one table per radius
    main, small = students
    assert main[1] == ["18,930"] and main[2] == ["123", "k"]
    assert main[3] == ["91.3", "86.3\u201396.3"]  # 0.9125 and 0.8625 to 0.9625, halves rounded up
    assert main[4:] == [["61.3", "56.3\u201366.3"]] * 6
    assert small[4:] == [["85.0", "80.0\u201390.0"]] * 6
    names = [row[0].strip() for row in rows if len(row) == 10]
    assert names == ["Model", "Student", "Teacher", "Baseline, no distillation", "Baseline, plain training"] * 2


def test_baselines_are_told_apart(page_of, read_page, finished, write_run, evaluation):
    said = read_page(finished).said()
    assert "without the teacher: what the student has over it is the teacher's part. The plain baseline is" in said
    assert "and the teacher: what the baseline without distillation has over it is adversarial training's part." in said
    del evaluation["models"]["baseline_no_distillation"]
    said = page_of(write_run(NO_CURVES, evaluation=evaluation)).said()
    assert "and the teacher: what the student has over it is the part of both." in said
    assert "without distillation is" not in said and "Random networks have" not in said


def test_overlapping_intervals_are_admitted(page_of, read_page, finished, write_run, evaluation):
    assert "overlap" in read_page(finished).said()
    evaluation["models"]["baseline_no_distillation"]["pgd_100"]["interval"] = [0.3, 0.4]
    assert "overlap" not in page_of(write_run(NO_CURVES, evaluation=evaluation)).said()


def test_protocol_and_run_are_told(read_page, finished):
    said = read_page(finished).said()
    for words in (
        "L\u221e ball of radius \u03b5",
        "PGD is no proof",
        "Published figures may be in another unit",
        "by 180 held-out training images",
        "training 3, evaluation 7",
        "2 \u00d7 cpu",
        "jax 0.10.2",
        "f00d",
        "beef",
        "1 min 02 s",
        "7 min 11 s",  # seven stages of 61.6 seconds
        "12 of 16",
        "ce then margin",
    ):
        assert words in said
    assert "Missing stages" not in said and "no model choice" not in said.lower()


def test_text_is_escaped(read_page, finished):
    page = read_page(finished)
    assert "--workdir='a<b>'" in page.said() and "a <b>bold</b> & risky one" in page.said()
    assert "a &lt;b&gt;bold" in finished.read_text(encoding="utf-8")


def test_nothing_held_out_is_a_warning(page_of, write_run):
    said = page_of(write_run(NO_CURVES, config={"data": {"held_out": 0}})).said()
    assert "Read with care." in said and "No model choice" in said


@pytest.mark.parametrize("flat", [True, False])
def test_settings_are_found_nested_or_flat(page_of, write_run, flat):
    config = {"data.held_out": 17} if flat else {"data": {"held_out": 17}}
    assert "by 17 held-out" in page_of(write_run(NO_CURVES, config=config)).said()


def test_verdicts_of_images(read_page, finished):
    said = read_page(finished).said()
    assert "true 4 \u00b7 clean 4 \u00b7 attacked 4 \u00b7 not fooled" in said
    assert "true 5 \u00b7 clean 5 \u00b7 attacked 9 \u00b7 fooled" in said
    assert "true 6 \u00b7 clean 1 \u00b7 attacked 1 \u00b7 wrong before the attack" in said


def test_difference_of_epsilon_is_full_contrast(finished):
    strip = np.asarray(Image.open(finished.parent / "report" / "adversarial_0.png"))
    size = strip.shape[0]
    assert strip.shape == (size, 3 * size + 12, 4)
    difference = strip[:, -size:, :3]
    assert (difference == 255).all()  # every pixel was raised by epsilon, the clean ones being far below 1


FILES = [
    "config.json",
    "run.json",
    "metrics.jsonl",
    "architecture.json",
    "evaluation.json",
    "adversarial.npz",
]


@pytest.mark.parametrize("missing", FILES)
def test_any_one_file_may_be_missing(page_of, write_run, missing):
    page_of(write_run(without=[missing]))


@pytest.mark.parametrize("alone", FILES[:-1])
def test_any_one_file_is_enough(page_of, write_run, alone):
    page_of(write_run(without=[name for name in FILES if name != alone]))


def test_before_evaluation_the_page_shows_the_student_and_what_is_missing(page_of, write_run):
    stages = {"search": {"status": "complete"}, "train": {"status": "running", "seconds": 1.0}}
    workdir = write_run(without=["evaluation.json", "adversarial.npz"], run={"stages": stages})
    page = page_of(workdir)
    said = page.said()
    assert "A student of 18,930 parameters, not yet evaluated" in said
    assert "train (unfinished)" in said and "evaluate (not run)" in said
    assert "search (" not in said.split("Missing stages:")[1].split(".")[0]
    assert "Who learns from whom" in said and "Protocol" not in said


def test_a_partly_evaluated_run(page_of, write_run, evaluation):
    evaluation = {
        "clean": evaluation["clean"],
        "models": {"teacher": {"clean": {"accuracy": 0.5}}, "baseline_plain": None},
    }
    said = page_of(write_run(NO_CURVES, evaluation=evaluation)).said()
    assert "A student of 18,930 parameters reaches 91.3 % clean accuracy" in said
    assert "Teacher \u2013" in said or "Teacher\u2013" in said


def test_a_search_without_a_teacher_has_no_tutors(page_of, write_run, architecture):
    architecture |= {"tutors": [], "teacher_taps": [], "tutor_probabilities": [], "teacher": {}}
    said = page_of(write_run(NO_CURVES, architecture=architecture)).said()
    assert "Who learns from whom" not in said and "12 of 16" in said


def test_an_architecture_may_state_no_more_than_its_widths(page_of, write_run):
    least = {"format": 1, "space": "tiny", "widths": [12], "image_shape": [8, 8, 1], "num_classes": 10}
    assert "space tiny" in page_of(write_run(NO_CURVES, architecture=least)).said()


def test_large_networks_are_drawn(page_of, write_run, architecture):
    architecture["blocks"] = [
        {"name": f"b{i}", "stage": i // 7, "width": 52, "options": [64, 60, 56, 52], "stride": 1} for i in range(21)
    ]
    architecture["width_probabilities"] = [[0.25] * 4] * 21
    architecture["student_taps"] = [f"block{i // 3}.layer{i % 3}" for i in range(64)]
    architecture["teacher_taps"] = [f"block{i}.conv" for i in range(31)]
    architecture["tutors"] = [f"block{i % 31}.conv" for i in range(64)]
    architecture["tutor_probabilities"] = np.full((64, 31), 1 / 31).tolist()
    page = page_of(write_run(NO_CURVES, architecture=architecture))
    height = next(int(image["height"]) for image in page.all("img") if image["alt"].startswith("Tutor of"))
    assert height > 64 * 12  # a label of 7 points is 9.3 pixels high: each row has room for its own


def test_classes_are_named_where_names_are_known(page_of, write_run, evaluation):
    evaluation["dataset"]["class_names"] = ["zero", "one", "two", "three", "four", "five"]
    said = page_of(write_run(NO_CURVES, evaluation=evaluation)).said()
    assert "true five \u00b7 clean five \u00b7 attacked 9" in said


def test_same_bytes_again_whatever_the_style_of_other_plots(finished):
    import matplotlib

    with matplotlib.rc_context({"lines.linewidth": 7.0, "font.size": 20.0, "savefig.dpi": 50}):
        before = finished.read_bytes()
        assert write_report(finished.parent).read_bytes() == before
        kept = [matplotlib.rcParams[key] for key in ("lines.linewidth", "font.size", "savefig.dpi")]
        assert kept == [7.0, 20.0, 50]


def test_importing_the_report_loads_no_plotting_library():
    loaded = "import sys, rnas.report; sys.exit(bool({'matplotlib', 'PIL', 'jax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
