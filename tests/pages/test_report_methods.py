"""Baselines trained by one adversarial method alone: what the page calls them and says of them."""

from rnas.pages.naming import is_published, model_label, model_order
from rnas.runs.system import BASELINES


def test_every_baseline_has_a_name_of_its_own():
    models = [f"baseline_{name}" for name in BASELINES]
    labels = [model_label(model) for model in models]
    assert len(set(labels)) == len(labels) and all(label.startswith("Baseline, ") for label in labels)
    assert (
        model_label("baseline_iad_1") == "Baseline, IAD-I"
        and model_label("baseline_trades_awp") == "Baseline, TRADES with AWP"
    )
    assert not any(map(is_published, models)) and is_published("baseline_advrush")


def test_methods_come_after_the_plain_baseline_and_before_other_networks():
    names = [
        "baseline_random_1",
        "baseline_advrush",
        "baseline_mtard",
        "baseline_pgd_at",
        "baseline_plain",
        "teacher",
        "student",
    ]
    assert sorted(names, key=model_order) == [
        "student", "teacher", "baseline_plain", "baseline_pgd_at", "baseline_mtard", "baseline_advrush", "baseline_random_1",
    ]  # fmt: skip


def test_the_page_says_what_they_share(page_of, write_run, evaluation):
    evaluation["models"]["baseline_ard"] = evaluation["models"]["baseline_plain"]
    said = page_of(write_run(("metrics.jsonl",), evaluation=evaluation)).said()
    assert "Baseline, ARD" in said
    assert "by it alone: architecture, initial weights and the number of steps are those of the student." in said
    assert "cells published there" not in said
