"""Evaluations of the attack suite: broken files are named, and the page says what they hold, no less."""

import base64
import json

import numpy as np
import pytest

from rnas.pages import write_attack_page, write_report
from rnas.pages.attacks import read_suite, read_suites, suite_cautions, with_suites
from rnas.pages.plots import plot_radii
from rnas.pages.record import read_record
from rnas.pages.scores import read_results

NO_CURVES = ("metrics.jsonl",)
SMALL = {"norm": "linf", "epsilon": 2 / 255, "epsilon_text": "2/255"}


def cells(row):
    return [" ".join(cell.replace("\u202f", " ").split()) for cell in row]


def results_of(workdir):
    return with_suites(read_results(read_record(workdir)), read_suites(workdir)[0])


def test_evaluations_are_in_order_and_unfinished_ones_apart(write_attack, attack_summary, tmp_path):
    teacher = attack_summary["model"] | {"name": "teacher"}
    write_attack("a", model=teacher)
    write_attack("b", threat=SMALL)
    write_attack("c")
    write_attack("d", complete=False)
    (tmp_path / "attacks" / "e").mkdir()
    (tmp_path / "attacks" / "notes.txt").write_text("no evaluation")
    suites, unfinished = read_suites(tmp_path)
    assert [suite.folder for suite in suites] == ["b", "c", "a"]
    assert unfinished == ["d", "e"]


def test_no_evaluations_are_no_error(tmp_path):
    assert read_suites(tmp_path) == ([], [])


@pytest.mark.parametrize("content", ['{"a": 1', "[1, 2]", b"\xff\xfe"])
def test_unreadable_json_is_named(write_attack, content):
    folder = write_attack()
    (folder / "attack.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"attack\.json"):
        write_attack_page(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is 2, expected 1"),
        ({"threat": None}, "threat is None, expected dict"),
        ({"threat": {"norm": "linf", "epsilon": "large"}}, "epsilon is 'large'"),
        ({"model": {"params": 3}}, "name is None, expected str"),
        ({"clean": {"count": 3}}, r"\(clean\) lacks accuracy"),
        ({"robust": {"accuracy": 55.6}}, r"\(robust\): accuracy 55.6, expected a number in \[0, 1\]"),
        ({"robust": {"accuracy": float("nan")}}, r"\(robust\): accuracy nan"),
        ({"robust": {"accuracy": 0.5, "interval": [0.4]}}, r"interval \[0.4\], expected two numbers"),
        ({"attacks": {"apgd_ce": 3}}, "attacks is .* expected list"),
        ({"attacks": [3]}, "attacks holds something else than objects"),
        ({"attacks": [{"name": "square", "attacked": 3, "fooled": 4}]}, "4 fooled of 3 attacked"),
        ({"checks": [{"letter": "A", "name": "inputs", "status": "fine"}]}, r"check A\): status 'fine'"),
        ({"curve": {"points": [{"accuracy": 0.5}]}}, "epsilon is None"),
        ({"cost": {"forwards": "many"}}, r"\(cost\): forwards is 'many', expected a number"),
        ({"warnings": "all of them"}, "warnings is 'all of them', expected list"),
        ({"attacks": [{"name": "square", "attacked": 4, "fooled": 3, "settings": 7}]}, "settings is 7, expected dict"),
        ({"uint8": [1]}, r"uint8 is \[1\], expected dict"),
    ],
)
def test_a_malformed_field_is_named(write_attack, change, message):
    with pytest.raises(ValueError, match=message) as error:
        read_suite(write_attack(**change))
    assert "attack.json" in str(error.value)


def test_broken_arrays_are_named(write_attack):
    folder = write_attack()
    for name in ("examples.npz", "adversarial.npz"):
        whole = (folder / name).read_bytes()
        for content in (b"PK\x03\x04 no archive", b""):
            (folder / name).write_bytes(content)
            with pytest.raises(ValueError, match=name):
                read_suite(folder)
        (folder / name).write_bytes(whole)
    assert read_suite(folder) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": np.arange(2)}, r"row \(2,\)"),
        ({"row": np.array([0, 1, 360])}, "rows 0 to 360, but examples.npz holds 360"),
        ({"row": np.array([-1, 1, 2])}, "rows -1 to 2"),
        ({"images": np.zeros((3, 8, 8))}, r"images \(3, 8, 8\)"),
    ],
)
def test_images_that_contradict_the_examples_are_named(write_attack, change, message):
    folder = write_attack()
    images = np.zeros((3, 8, 8, 1), np.float32)
    np.savez(folder / "adversarial.npz", **{"row": np.arange(3), "images": images, "clean": images} | change)
    with pytest.raises(ValueError, match=message) as error:
        read_suite(folder)
    assert "adversarial.npz" in str(error.value)


def test_examples_of_different_lengths_are_named(write_attack):
    folder = write_attack()
    with np.load(folder / "examples.npz") as archive:
        arrays = dict(archive)
    np.savez(folder / "examples.npz", **arrays | {"label": arrays["label"][:-1]})
    with pytest.raises(ValueError, match=r"examples\.npz"):
        read_suite(folder)


def test_page_of_one_evaluation(attacked, read_page):
    page = read_page(attacked)
    said = page.said()
    for words in (
        "Student keeps 55.6 % accuracy under AutoAttack, L\u221e \u03b5 = 8/255",
        "in the worst case 55.6 % (95 % Wilson interval 50.6\u201360.6) of 360 images",
        "91.1 % without attack",
        "126 of 128 fooling images still fool; rounding takes 3 of them out of the ball",
        "supernet_tiny, 18,930 parameters, 10 classes",
        "digits 1.0.0 test, 360 images from number 0 on",
        "2.10 M forward passes of one image, estimated 2.38 M; one takes 0.12 ms; 7 compilations",
        "4 min 06 s",
        "1 \u00d7 cpu, float32, highest",
        "adaptive attack",
        "Tram\u00e8r et al., 2020",
        "runs/<digits>",
        "true 2 \u00b7 clean 2 \u00b7 attacked 4 \u00b7 fooled",  # image 232, the first of the last 128
        "check B (gradients) warns: 1.5 % zero. Try <margin>.",
        "Square ran with its own schedule",
    ):
        assert words in said
    rows = [cells(row) for row in page.rows]
    assert ["APGD-CE", "328", "90", "66.1 61.1\u201371.1", "123 k", "1 min 02 s"] in rows
    assert ["Square", "208", "8", "55.6 50.6\u201360.6", "123 k", "1 min 02 s"] in rows
    assert ["runs/other/attacks/teacher_auto_attack", "Teacher", "72.5 67.5\u201377.5", "360"] in rows
    assert ["B \u00b7 gradients", "! warning", "1.5 % zero", "Try <margin>."] in rows
    assert ["A \u00b7 inputs", "\u2713 passed", "pixels in [0, 1]", ""] in rows
    assert ["J \u00b7 controls", "\u2013 skipped", "", "in the tests"] in rows


def test_page_of_one_evaluation_needs_nothing_but_itself(attacked, read_page):
    page = read_page(attacked)
    saved = {path.read_bytes() for path in (attacked.parent / "report").glob("*.png")}
    assert {base64.b64decode(image["src"].split(",")[1]) for image in page.all("img")} == saved
    assert len(page.all("img")) == 1 + 6  # radii, images
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {link["href"] for link in page.all("a")} == {f"#{anchor}" for anchor in anchors}
    text = attacked.read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "") and "url(" not in text and "<script" not in text
    before = attacked.read_bytes()
    assert write_attack_page(attacked.parent).read_bytes() == before


def test_distances_are_of_the_fooled_alone(attacked, read_page):
    (smallest,) = [row for row in map(cells, read_page(attacked).rows) if row[0] == "L\u221e"]
    first, last = (np.linspace(0.5, 1, 360)[i] * 8 / 255 for i in (232, 359))
    assert np.allclose([float(cell) for cell in smallest[1:]], [first, (first + last) / 2, last], rtol=1e-3)


def test_an_attack_measured_alone_has_its_column(write_attack, attack_summary, read_page):
    attack_summary["attacks"][3]["alone"] = {"accuracy": 0.8, "count": 360}
    rows = [cells(row) for row in read_page(write_attack_page(write_attack(attacks=attack_summary["attacks"]))).rows]
    assert ["Attack", "Attacked", "Fooled", "Still right", "Alone", "Queries", "Time"] in rows
    assert ["Square", "208", "8", "55.6 50.6\u201360.6", "80.0", "123 k", "1 min 02 s"] in rows
    assert len({len(row) for row in rows if row[0] in ("no attack", "APGD-CE", "Square")}) == 1


def test_arrays_and_all_that_is_optional_may_be_missing(write_attack, attack_summary, read_page):
    needed = ("format", "complete", "model", "threat", "attack", "clean", "robust")
    folder = write_attack(without=["examples.npz", "adversarial.npz"])
    least = {key: attack_summary[key] for key in needed} | {"model": {"name": "net"}, "curve": None}
    (folder / "attack.json").write_text(json.dumps(least))
    page = read_page(write_attack_page(folder))
    assert "net keeps 55.6 % accuracy under AutoAttack" in page.said()
    assert not page.all("img")


def test_nobody_fooled(write_attack, attack_summary, read_page):
    folder = write_attack(uint8={"fooled": 0, "still_fooling": 0, "outside_ball": 0}, robust=attack_summary["clean"])
    none = np.zeros((0, 8, 8, 1), np.float32)
    np.savez(folder / "adversarial.npz", row=np.zeros(0, int), images=none, clean=none)
    page = read_page(write_attack_page(folder))
    assert len(page.all("img")) == 1 and "Rounded" not in page.said() and "Norm" not in page.said()


def test_unfinished_or_absent_evaluations_have_no_page(write_attack, tmp_path):
    for folder in (write_attack(complete=False), tmp_path):
        with pytest.raises(ValueError, match="holds no finished evaluation"):
            write_attack_page(folder)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_curve_in_words(write_attack, attack_summary, norm):
    threat = {"norm": norm, "epsilon": 0.5, "epsilon_text": "0.5"}
    model = {"name": "student", "num_classes": 1000}  # chance as good as 0
    points = [{"epsilon": radius, "accuracy": accuracy} for radius, accuracy in ((0.5, 0.25), (0, 0.75), (0.2, 0.5))]
    suite = read_suite(write_attack(threat=threat, model=model, curve={"attack": "pgd_20", "points": points}))
    picture = plot_radii(suite)
    alt = picture.alt.replace("\u202f", " ")
    assert alt.startswith("Accuracy of Student under PGD-20") and "75.0 % at 0, 50.0 % at " in alt
    assert plot_radii(read_suite(write_attack(curve={"attack": "pgd_20", "points": []}))) is None


def test_a_run_shows_its_evaluation(write_run, write_attack, page_of):
    workdir = write_run(NO_CURVES)
    write_attack()
    page = page_of(workdir)
    said = page.said()
    assert "keeps 55.6 % accuracy under AutoAttack at \u03b5 = 8/255" in said
    assert "Under PGD-100 it keeps 61.3 %, the same network trained plainly keeps 2.5 %" in said
    assert "AutoAttack, \u03b5 = 8/25555.6 %" in said and "PGD-100, \u03b5 = 8/25561.3 %" in said
    assert "No attack is a proof." in said and "PGD is no proof" not in said
    assert "Read with care." in said and "check B (gradients) warns" in said
    students = [cells(row) for row in page.rows if row[0].startswith("Student ") and len(row) > 4]
    main, small = students  # AutoAttack beside the attacks at 8/255, and the table at 2/255 as it was
    assert main[-1] == "55.6 50.6\u201360.6" and len(main) == 11 and len(small) == 10
    assert ["AutoAttack standard", "8/255", *"\u2013" * 5, "360"] in [cells(row) for row in page.rows]
    saved = {path.read_bytes() for path in (workdir / "report").glob("*.png")}
    assert {base64.b64decode(image["src"].split(",")[1]) for image in page.all("img")} == saved


def test_a_run_compares_by_the_suite_where_all_were_put_to_it(write_run, write_attack, attack_summary, page_of):
    workdir = write_run(NO_CURVES)
    for name, clean, robust in (
        ("student", 0.9125, 0.55),
        ("teacher", 0.95, 0.65),
        ("baseline_plain", 0.975, 0.0),
        ("baseline_no_distillation", 0.9, 0.5),
    ):
        figures = {"clean": {"accuracy": clean, "count": 360}, "robust": {"accuracy": robust, "count": 360}}
        write_attack(name, model=attack_summary["model"] | {"name": name}, **figures)
    page = page_of(workdir)
    said = page.said()
    assert "Under the same attack the same network trained plainly keeps 0.0 %" in said
    assert "and the teacher keeps 65.0 %" in said
    assert ["Baseline, plain training", "AutoAttack standard", "L\u221e \u03b5 = 8/255", "97.5", "0.0"] in [
        cells(row)[:5] for row in page.rows
    ]
    open_ones = [attributes for attributes in page.all("details") if "open" in attributes]
    assert len(open_ones) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"threat": {"norm": "l2", "epsilon": 8 / 255}},
        {"threat": {"norm": "linf", "epsilon": 0.25}},
        {"attack": "pgd_100"},
        {"model": {"name": "somebody"}},
        {"clean": {"accuracy": 0.9125, "count": 100}},
        {"clean": {"accuracy": 0.8, "count": 360}},
    ],
)
def test_another_evaluation_leaves_the_tables_as_they_are(write_run, write_attack, change):
    workdir = write_run(NO_CURVES)
    before = results_of(workdir)
    write_attack(**change)
    assert len(read_suites(workdir)[0]) == 1
    assert results_of(workdir) == before and before.attack == "pgd_100"


def test_of_two_evaluations_the_lower_holds(write_run, write_attack):
    workdir = write_run(NO_CURVES)
    write_attack("a", version="standard", robust={"accuracy": 0.3, "count": 360})
    write_attack("b", version="plus", robust={"accuracy": 0.2, "count": 360})
    write_attack("c", version="rand", robust={"accuracy": 0.4, "count": 360})
    score = results_of(workdir).headline("student")
    assert (score.accuracy, score.settings) == (0.2, {"version": "plus"})


def test_cautions_of_an_evaluation(write_run, write_attack, attack_summary):
    workdir = write_run(NO_CURVES)
    results = read_results(read_record(workdir))
    failed = {"letter": "I", "name": "stored images", "status": "failed", "figure": "3 of 128 outside", "advice": ""}
    clean = {"accuracy": 0.8, "count": 360}
    suite = read_suite(write_attack(checks=[failed], warnings=["zero gradients"] * 2, clean=clean))
    notes = suite_cautions([suite], results)
    assert all(note.startswith("Student, AutoAttack, L\u221e \u03b5 = 8/255: ") for note in notes)
    check, warning, other = (note.split(": ", 1)[1] for note in notes)
    assert check == "check I (stored images) failed: 3 of 128 outside."
    assert warning == "zero gradients"
    assert other.startswith("clean accuracy is 80.0")
    passing = [check for check in attack_summary["checks"] if check["status"] in ("passed", "skipped")]
    assert suite_cautions([read_suite(write_attack(checks=passing, warnings=[]))], results) == []


def test_a_suite_weaker_than_pgd_is_noticed(write_run, write_attack, page_of):
    workdir = write_run(NO_CURVES)
    write_attack(robust={"accuracy": 0.7, "count": 360})
    assert "PGD-100 (61.3 %) finds more than AutoAttack (70.0 %)" in page_of(workdir).said()


def test_a_run_names_what_is_unfinished(write_run, write_attack, page_of):
    workdir = write_run(NO_CURVES)
    write_attack("student_auto_attack_l2_0.5", complete=False)
    said = page_of(workdir).said()
    assert "Attack evaluations begun: student_auto_attack_l2_0.5." in said
    assert "Unfinished evaluations: student_auto_attack_l2_0.5." in said


def test_a_broken_evaluation_stops_the_page_of_its_run(write_run, write_attack):
    workdir = write_run(NO_CURVES)
    (write_attack("broken") / "attack.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken.attack\.json"):
        write_report(workdir)
