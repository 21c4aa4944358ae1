"""Evaluations of the attack suite: broken files are named, and the page shows what they hold, no less."""

import numpy as np
import pytest

from rnas.pages import write_attack_page, write_report
from rnas.pages.attack_page import attack_context
from rnas.pages.curves import plot_radii
from rnas.pages.results import read_results, suite_cautions
from rnas.pages.workdir import read_attack, read_workdir

NO_METRICS = ("metrics.jsonl",)
SMALL = {"norm": "linf", "epsilon": 2 / 255, "epsilon_text": "2/255"}
FOLDER = "student_auto_attack"  # of the evaluation whose page tests only read


def score(accuracy, count=360):
    return {"accuracy": accuracy, "count": count, "interval": [max(0, accuracy - 0.05), accuracy + 0.05]}


def test_evaluations_are_in_order_and_unfinished_ones_apart(write_run, write_attack, attack_summary):
    workdir = write_run(NO_METRICS)
    write_attack("a", model=attack_summary["model"] | {"name": "teacher"})
    write_attack("b", threat=SMALL)
    write_attack("c")
    write_attack("d", without=["attack.json"])
    (workdir / "attacks" / "e").mkdir()
    (workdir / "attacks" / "notes.txt").write_text("no evaluation")
    files = read_workdir(workdir)
    assert [folder.name for folder in files.attacks] == ["b", "c", "a"]
    assert files.unfinished == ("d", "e")


@pytest.mark.parametrize("content", ['{"a": 1', "[1, 2]", b"\xff\xfe"])
def test_unreadable_json_is_named(write_attack, content):
    folder = write_attack()
    (folder / "attack.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"attack\.json"):
        write_attack_page(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "format 1, expected 2"),
        ({"threat": None}, "threat: expected an object"),
        ({"clean": {"count": 3}}, "clean.accuracy: expected a value, which is missing"),
        (
            {"attacks": [{"name": "square", "attacked": 3, "fooled": "4"}]},
            r"attacks\[0\].fooled: expected a valid",
        ),
        ({"checks": [{"letter": "A", "name": "inputs", "status": "fine", "figure": ""}]}, "expected one of skipped"),
    ],
)
def test_a_malformed_field_is_named(write_attack, change, message):
    with pytest.raises(ValueError, match=message) as error:
        read_attack(write_attack(**change))
    assert "attack.json" in str(error.value)


def test_broken_arrays_are_named(write_attack):
    folder = write_attack()
    for name in ("examples.npz", "adversarial.npz"):
        whole = (folder / name).read_bytes()
        for content in (b"PK\x03\x04 no archive", b""):
            (folder / name).write_bytes(content)
            with pytest.raises(ValueError, match=name):
                read_attack(folder)
        (folder / name).write_bytes(whole)
    assert read_attack(folder) is not None


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
        read_attack(folder)
    assert "adversarial.npz" in str(error.value)


def test_page_of_one_evaluation(attacked, read_page):
    said = read_page(attacked).said()
    for words in (
        "Student keeps 55.6 % accuracy under AutoAttack, L\u221e \u03b5 = 8/255",
        "in the worst case the model still classifies 55.6 % of 360 images correctly under AutoAttack standard, "
        "L\u221e \u03b5 = 8/255 (95 % Wilson interval 50.6\u201360.6). Without attack it classifies 91.1 %",
        "126 of 128 fooling images still fool; rounding takes 3 of them out of the ball",
        "supernet_tiny, 18,930 parameters, 10 classes",
        "digits 1.0.0 test, 360 images from number 0 on",
        "2.10 M forward passes of one image, estimated 2.38 M; one takes 0.12 ms; 7 compilations",
        "4 min 06 s",
        "1 \u00d7 cpu, float32, highest",
        "adaptive attack",
        "Tram\u00e8r et al., 2020",
        "runs/<digits>",
        "check B (gradients) gave a warning.Details1.5 % zero. Try <margin>.",
        "Square ran with its own schedule",
    ):
        assert words in said


def test_tables_of_one_evaluation(write_attack, rows, undrawn):
    folder = write_attack(FOLDER)
    context = attack_context(read_attack(folder))
    attacks = {row["Attack"]: row for row in rows(context, f"attack_{FOLDER}_attacks")}
    assert attacks["APGD-CE"] == {
        "Attack": "APGD-CE", "Attacked": "328", "Fooled": "90", "Still correct": "66.1", "Queries": "123 k",
        "Time": "1 min 02 s",
    }  # fmt: skip
    assert list(attacks) == ["no attack", "APGD-CE", "APGD-T", "FAB-T", "Square"]
    assert attacks["Square"]["Still correct"] == "55.6" and attacks["Square"]["Fooled"] == "8"
    (transfer,) = rows(context, f"attack_{FOLDER}_transfer")
    assert list(transfer.values()) == ["runs/other/attacks/teacher_auto_attack", "Teacher", "72.5", "360"]
    checks = [list(row.values()) for row in rows(context, f"attack_{FOLDER}_checks")]
    assert ["B \u00b7 gradients", "warning", "1.5 % zero", "Try <margin>."] in checks
    assert ["J \u00b7 controls", "skipped", "", "in the tests"] in checks
    # Distances are of the fooled alone, the last 128 images.
    smallest = rows(context, f"attack_{FOLDER}_distances")[0]
    first, last = (np.linspace(0.5, 1, 360)[i] * 8 / 255 for i in (232, 359))
    values = [float(smallest[name]) for name in ("Smallest", "Median", "Largest")]
    assert smallest["Norm"] == "L\u221e" and np.allclose(values, [first, (first + last) / 2, last], rtol=1e-3)
    gallery = context["sections"]["images"].content["gallery"]
    assert len(gallery.examples) == 6
    assert gallery.examples[0].classes == "label 2 \u00b7 clean 2 \u00b7 adversarial 4"  # image 232


@pytest.mark.slow
def test_the_page_in_a_browser(check_page, attacked):
    check_page(attacked)


def test_the_same_files_give_the_same_page(attacked):
    before = attacked.read_bytes()
    assert write_attack_page(attacked.parent).read_bytes() == before


def test_an_attack_measured_alone_has_its_column(write_attack, attack_summary, rows, undrawn):
    attack_summary["attacks"][3]["alone"] = score(0.8)
    context = attack_context(read_attack(write_attack("one", attacks=attack_summary["attacks"])))
    found = {row["Attack"]: row["Alone"] for row in rows(context, "attack_one_attacks")}
    assert found["Square"] == "80.0" and found["APGD-CE"] == ""


def test_arrays_and_what_was_not_measured_may_be_missing(write_attack, undrawn):
    empty = {"attacks": [], "transfer": [], "checks": [], "warnings": [], "curve": {"attack": "pgd_20", "points": []}}
    folder = write_attack(without=["examples.npz", "adversarial.npz"], **empty)
    context = attack_context(read_attack(folder))
    assert list(context["sections"]) == ["attacks", "measured"]
    write_attack_page(folder)


def test_nobody_fooled(write_attack, attack_summary, read_page, undrawn):
    folder = write_attack(uint8={"fooled": 0, "still_fooling": 0, "outside_ball": 0}, robust=attack_summary["clean"])
    none = np.zeros((0, 8, 8, 1), np.float32)
    np.savez(folder / "adversarial.npz", row=np.zeros(0, int), images=none, clean=none)
    page = read_page(write_attack_page(folder))
    assert len(page.all("img")) == 1 and "Rounded" not in page.said() and "Norm" not in page.said()


def test_unfinished_or_absent_evaluations_have_no_page(write_attack, tmp_path):
    for folder in (write_attack(without=["attack.json"]), tmp_path):
        with pytest.raises(ValueError, match="holds no finished evaluation"):
            write_attack_page(folder)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_curve_in_words(write_attack, attack_summary, norm):
    threat = {"norm": norm, "epsilon": 0.5, "epsilon_text": "0.5"}
    model = attack_summary["model"] | {"num_classes": 1000}  # chance as good as 0
    points = [{"epsilon": radius, **score(accuracy)} for radius, accuracy in ((0.5, 0.25), (0, 0.75), (0.2, 0.5))]
    folder = read_attack(write_attack(threat=threat, model=model, curve={"attack": "pgd_20", "points": points}))
    picture = plot_radii("radii", folder.summary)
    alt = picture.alt.replace("\u202f", " ")
    assert alt.startswith(
        "Accuracy of Student under PGD-20 (step \u03b5/4) against the radius: 75.0 % at 0, 50.0 % at "
    )
    threat = {"linf": "L\u221e", "l2": "L2"}[norm]
    assert picture.labels == ("PGD-20 (step \u03b5/4)", f"AutoAttack, {threat} \u03b5 = 0.5")


def test_a_run_shows_its_evaluation(write_run, write_attack, context_of, page_of, rows):
    workdir = write_run(NO_METRICS)
    write_attack()
    context = context_of(workdir)
    assert context["title"].replace("\u202f", " ").endswith("keeps 55.6 % accuracy under AutoAttack at \u03b5 = 8/255")
    assert [tile.title for tile in context["tiles"]][3:] == ["AutoAttack, \u03b5 = 8/255", "PGD-100, \u03b5 = 8/255"]
    main, small = (rows(context, f"accuracy_{radius}_255") for radius in (8, 2))
    assert main[0]["AutoAttack, standard"] == "55.6" and main[1]["AutoAttack, standard"] == ""
    assert not any(column.startswith("AutoAttack") for column in small[0])  # the table at 2/255 as it was
    protocol = [list(row.values()) for row in rows(context, "attacks")]
    assert ["AutoAttack", "8/255", *[""] * 5, "360"] in protocol
    assert any("check B (gradients) gave a warning" in warning for warning in context["warnings"])
    said = page_of(workdir).said()
    assert "Under PGD-100 it keeps 61.3 %, the same network with plain training keeps 2.5 %" in said
    assert "No attack is a proof." in said and "PGD is no proof" not in said


def test_a_run_compares_by_the_suite_where_all_were_put_to_it(
    write_run, write_attack, attack_summary, evaluation, context_of, page_of, rows
):
    workdir = write_run(NO_METRICS)
    for name, clean, robust in (
        ("student", 0.9125, 0.55),
        ("teacher", 0.95, 0.65),
        ("baseline_plain", 0.975, 0.0),
        ("baseline_no_distillation", 0.9, 0.5),
    ):
        label = {key: evaluation["models"][name][key] for key in ("kind", "label")}
        model = attack_summary["model"] | {"name": name, **label}
        write_attack(name, model=model, clean=score(clean), robust=score(robust))
    page = page_of(workdir)
    said = page.said()
    assert "Under the same attack the same network with plain training keeps 0.0 %" in said
    assert "and the teacher keeps 65.0 %" in said
    overview = {row["Model"]: list(row.values()) for row in rows(context_of(workdir), "attack_suite")}
    assert overview["Baseline, plain training"][1:5] == ["AutoAttack standard", "L\u221e \u03b5 = 8/255", "97.5", "0.0"]
    assert len([attributes for attributes in page.all("details") if "open" in attributes]) == 1


def results_of(workdir):
    return read_results(read_workdir(workdir))


@pytest.mark.parametrize(
    "change",
    [
        {"threat": {"norm": "l2", "epsilon": 8 / 255, "epsilon_text": "8/255"}},
        {"threat": {"norm": "linf", "epsilon": 0.25, "epsilon_text": "0.25"}},
        {"attack": "pgd_100"},
        {"model": "somebody"},
        {"clean": score(0.9125, 100)},
        {"clean": score(0.8)},
    ],
)
def test_another_evaluation_leaves_the_tables_as_they_are(write_run, write_attack, attack_summary, change):
    workdir = write_run(NO_METRICS)
    before = results_of(workdir)
    if "model" in change:
        change = {"model": attack_summary["model"] | {"name": change["model"]}}
    write_attack(**change)
    assert len(read_workdir(workdir).attacks) == 1
    assert results_of(workdir) == before and before.attack == "pgd_100"


def test_of_two_evaluations_the_lower_holds(write_run, write_attack):
    workdir = write_run(NO_METRICS)
    write_attack("a", version="standard", robust=score(0.3))
    write_attack("b", version="plus", robust=score(0.2))
    write_attack("c", version="rand", robust=score(0.4))
    found = results_of(workdir).headline("student")
    assert (found.accuracy, found.settings) == (0.2, {"version": "plus"})


def test_cautions_of_an_evaluation(write_run, write_attack, attack_summary):
    workdir = write_run(NO_METRICS)
    evaluation = read_workdir(workdir).evaluation
    failed = {"letter": "I", "name": "stored images", "status": "failed", "figure": "3 of 128 outside", "advice": ""}
    folder = read_attack(write_attack(checks=[failed], warnings=["zero gradients"] * 2, clean=score(0.8)))
    notes = suite_cautions([folder], evaluation)
    assert all(note.startswith("Student, AutoAttack, L\u221e \u03b5 = 8/255: ") for note in notes)
    check, warning, other = (note.split(": ", 1)[1] for note in notes)
    assert check == "check I (stored images) failed. || 3 of 128 outside."
    assert warning == "zero gradients"
    assert other.startswith("left out of the tables") and "Clean accuracy is 80.0" in other
    passing = [check for check in attack_summary["checks"] if check["status"] in ("passed", "skipped")]
    assert suite_cautions([read_attack(write_attack(checks=passing, warnings=[]))], evaluation) == []


def test_a_suite_weaker_than_pgd_is_noticed(write_run, write_attack, context_of):
    workdir = write_run(NO_METRICS)
    write_attack(robust=score(0.7))
    words = "quote PGD-100, not AutoAttack, which finds less. || Accuracy is 61.3\u202f% under PGD-100 and 70.0"
    assert any(words in warning for warning in context_of(workdir)["warnings"])


def test_a_run_names_what_is_unfinished(write_run, write_attack, page_of):
    workdir = write_run(NO_METRICS)
    write_attack("student_auto_attack_l2_0.5", without=["attack.json"])
    said = page_of(workdir).said()
    assert "Unfinished evaluations of the attack suite: student_auto_attack_l2_0.5." in said
    assert "Unfinished evaluations: student_auto_attack_l2_0.5." in said


def test_a_broken_evaluation_stops_the_page_of_its_run(write_run, write_attack):
    workdir = write_run(NO_METRICS)
    (write_attack("broken") / "attack.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken.attack\.json"):
        write_report(workdir)
