"""Scores: how evaluation.json becomes rows and columns, and which figures ask for caution."""

import json

import pytest

from rnas.pages.record import read_record
from rnas.pages.scores import attack_label, cautions, read_results


def read(workdir):
    record = read_record(workdir)
    results = read_results(record)
    return results, cautions(record, results)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fgsm", "FGSM"),
        ("pgd_20", "PGD-20"),
        ("pgd_20_2", "PGD-20"),
        ("pgd_100", "PGD-100"),
        ("mim_20", "MI-FGSM"),
        ("cw_20", "CW"),
        ("auto_attack", "AutoAttack"),
        ("apgd_ce", "APGD-CE"),
        ("apgd_t", "APGD-T"),
        ("fab_t", "FAB-T"),
        ("square", "Square"),
        ("something_new", "something_new"),
    ],
)
def test_attack_label(name, label):
    assert attack_label(name) == label


def test_models_and_radii_are_in_order(write_run):
    results, notes = read(write_run())
    assert list(results.models) == ["student", "teacher", "baseline_no_distillation", "baseline_plain"]
    assert results.epsilon == pytest.approx(8 / 255, abs=1e-7)
    assert [results.radius(epsilon) for epsilon in results.models["teacher"].attacks] == ["8/255", "2/255"]
    assert results.headline("baseline_plain").accuracy == 0.025
    assert notes == []


def test_a_radius_is_the_same_written_as_fraction_or_number(write_run, evaluation):
    evaluation["models"]["student"]["epsilons"] = {
        "8/255": {"auto_attack": {"accuracy": 0.25, "count": 360}},
        "0.00784313725490196": {"fgsm": {"accuracy": 0.5, "count": 360}},
    }
    student = read(write_run(evaluation=evaluation))[0].models["student"]
    assert len(student.attacks) == 2
    assert student.at(next(iter(student.attacks)), "auto_attack").accuracy == 0.25


@pytest.mark.parametrize("accuracy", [61.2, -0.1, float("nan"), "0.5", None])
def test_an_accuracy_must_be_a_share(write_run, evaluation, accuracy):
    evaluation["models"]["teacher"]["pgd_100"]["accuracy"] = accuracy
    workdir = write_run()
    (workdir / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(ValueError, match=r"evaluation\.json \(teacher, pgd_100\)"):
        read(workdir)


def test_one_step_stronger_than_a_hundred_is_noticed(write_run, evaluation):
    evaluation["models"]["baseline_plain"]["fgsm"]["accuracy"] = 0.0
    (note,) = read(write_run(evaluation=evaluation))[1]
    assert "Baseline, plain training" in note and "8/255" in note and "masked gradients" in note


def test_a_rising_curve_is_noticed(write_run, evaluation):
    evaluation["models"]["student"]["curve"][2]["accuracy"] = 0.9
    (note,) = read(write_run(evaluation=evaluation))[1]
    assert "rises from 85.0\u202f% at \u03b5 = 2/255 to 90.0\u202f% at 8/255" in note


def test_a_curve_that_does_not_start_at_clean_accuracy_is_noticed(write_run, evaluation):
    evaluation["models"]["teacher"]["curve"][0]["accuracy"] = 0.93
    (note,) = read(write_run(evaluation=evaluation))[1]
    assert note.startswith("Teacher: the curve starts at 93.0")


def test_warnings_of_the_evaluation_are_passed_on(write_run, evaluation):
    assert read(write_run(evaluation=evaluation | {"warnings": ["zero gradients"]}))[1] == ["zero gradients"]
