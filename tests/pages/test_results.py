"""Results: how evaluation.json becomes rows and columns, and which figures ask for caution."""

import pytest

from rnas.pages.results import by_radius, cautions, read_results, spread
from rnas.pages.workdir import read_workdir


def read(folder):
    files = read_workdir(folder)
    results = read_results(files)
    return results, cautions(results, files.setting("data.held_out"))


def test_models_and_radii_are_in_order(write_run):
    results, notes = read(write_run())
    assert list(results.models) == ["student", "teacher", "baseline_no_distillation", "baseline_plain"]
    assert results.epsilon == pytest.approx(8 / 255, abs=1e-7)
    assert [results.radius(epsilon) for epsilon in by_radius(results.models["teacher"])] == ["8/255", "2/255"]
    assert results.headline("baseline_plain").accuracy == 0.025
    assert notes == []


def test_a_radius_is_the_same_written_as_fraction_or_number(write_run, evaluation):
    score = {"count": 360, "interval": [0.2, 0.3], "epsilon": 4 / 255}
    evaluation["models"]["student"]["epsilons"] = {"4/255": {"fgsm": {"accuracy": 0.5, **score}}}
    results, _ = read(write_run(evaluation=evaluation))
    assert list(by_radius(results.student)) == pytest.approx([8 / 255, 4 / 255], abs=1e-7)
    assert results.at("student", 0.0156863)["fgsm"].accuracy == 0.5


def test_models_are_in_the_order_of_their_kinds(write_run, evaluation):
    models = evaluation["models"]
    kinds = ("random", "published", "method", "plain", "teacher", "student")
    named = {kind: models["teacher"] | {"kind": kind} for kind in kinds}
    results, _ = read(write_run(evaluation=evaluation | {"models": named}))
    assert list(results.models) == ["student", "teacher", "plain", "method", "published", "random"]


def test_one_step_stronger_than_a_hundred_is_noticed(write_run, evaluation):
    evaluation["models"]["baseline_plain"]["fgsm"]["accuracy"] = 0.0
    (note,) = read(write_run(evaluation=evaluation))[1]
    assert "Baseline, plain training" in note and "8/255" in note and "masked gradients" in note


def test_a_rising_curve_is_noticed(write_run, evaluation):
    evaluation["models"]["student"]["curve"]["points"][2]["accuracy"] = 0.9
    (note,) = read(write_run(evaluation=evaluation))[1]
    assert "rises from 85.0\u202f% at \u03b5 = 2/255 to 90.0\u202f% at 8/255" in note


def test_a_curve_that_does_not_start_at_clean_accuracy_is_noticed(write_run, evaluation):
    evaluation["models"]["teacher"]["curve"]["points"][0]["accuracy"] = 0.93
    (note,) = read(write_run(evaluation=evaluation))[1]
    assert note.startswith("Teacher: the curve starts at 93.0")


def test_autoattack_of_easy_first_images_is_no_headline(write_cells, cell_evaluation):
    suite = cell_evaluation["models"]["student"]["auto_attack"]
    suite["accuracy"] = 0.5  # of 200 images, and less than PGD-100 leaves of all 360
    results, notes = read(write_cells(metrics=[], evaluation=cell_evaluation))
    assert (results.attack, notes) == ("auto_attack", [])
    assert results.fewer(results.headline("student")) == "first 200 images"
    assert results.fewer(results.headline("student", "pgd_100")) == ""

    suite["accuracy"] = 0.52
    results, (note,) = read(write_cells(metrics=[], evaluation=cell_evaluation))
    assert results.attack == "pgd_100" and results.headline("student").accuracy == pytest.approx(0.513, abs=1e-3)
    assert note.startswith("AutoAttack judged easier images than PGD-100: quote PGD-100. ||")
    assert "(AutoAttack 52.0\u202f% of the first 200 images, PGD-100 51.3\u202f%). Let AutoAttack" in note

    suite["count"] = 360
    results, (note,) = read(write_cells(metrics=[], evaluation=cell_evaluation))
    assert results.attack == "auto_attack"
    assert "51.3\u202f% under PGD-100 and 52.0\u202f% under AutoAttack" in note


def test_spread_of_a_sample():
    assert spread([0.2, 0.4, 0.6]) == pytest.approx((0.4, 0.2, 0.2, 0.6, 3))  # deviation of a sample: n - 1
    assert spread([0.5])[1] is None
    assert spread([]) is None and spread([0.5, None]) is None
