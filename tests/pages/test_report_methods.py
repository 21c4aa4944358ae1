"""Twins trained by one adversarial method alone: what the page calls them and says of them."""

from rnas.pages.naming import is_published, model_label, model_order
from rnas.runs.system import TWINS


def test_every_twin_has_a_name_of_its_own():
    models = [f"twin_{name}" for name in TWINS]
    labels = [model_label(model) for model in models]
    assert len(set(labels)) == len(labels) and all(label.startswith("Twin, ") for label in labels)
    assert model_label("twin_iad_1") == "Twin, IAD-I" and model_label("twin_trades_awp") == "Twin, TRADES with AWP"
    assert not any(map(is_published, models)) and is_published("twin_advrush")


def test_methods_come_after_the_plain_twin_and_before_other_networks():
    names = ["twin_random_1", "twin_advrush", "twin_mtard", "twin_pgd_at", "twin_plain", "teacher", "student"]
    assert sorted(names, key=model_order) == [
        "student", "teacher", "twin_plain", "twin_pgd_at", "twin_mtard", "twin_advrush", "twin_random_1",
    ]  # fmt: skip


def test_the_page_says_what_they_share(page_of, write_run, evaluation):
    evaluation["models"]["twin_ard"] = evaluation["models"]["twin_plain"]
    said = page_of(write_run(("metrics.jsonl",), evaluation=evaluation)).said()
    assert "Twin, ARD" in said
    assert "by it alone: architecture, initial weights and the number of steps are those of the student." in said
    assert "cells published there" not in said
