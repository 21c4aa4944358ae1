"""Catastrophic overfitting: what counts as one, and what a rule remembers."""

import numpy as np
import pytest

from rnas.training.collapse import BEST, CollapsedError, CollapseRule, has_collapsed


@pytest.mark.parametrize(
    ("robust", "best", "trained", "expected"),
    [
        (0.02, 0.60, 0.90, True),
        (0.29, 0.60, 0.90, True),
        (0.30, 0.60, 0.90, False),  # half of the best is not below half of it
        (0.50, 0.60, 0.99, False),  # robust overfitting: held-out images gain nothing, but nothing collapses
        (0.10, 0.60, 0.15, False),  # training images have lost as much: another illness
        (0.70, 0.60, 0.90, False),
        (0.00, 0.19, 0.90, False),  # it never was far enough above chance
        (0.00, 0.20, 0.90, True),
        (0.00, 0.00, 0.00, False),
    ],
)
def test_a_collapse_is_a_fall_that_training_does_not_show(robust, best, trained, expected):
    assert has_collapsed(robust, best, trained, share=0.5, chance=0.1) is expected
    assert not has_collapsed(robust, best, trained, share=0.0, chance=0.1)


def test_a_rule_hands_on_the_best_and_names_what_it_saw():
    rule, figures = CollapseRule(0.5, 0.1), {}
    for step, robust in ((10, 0.4), (20, 0.6), (30, 0.35)):
        figures = rule.check(("teacher",), step, {"adversarial_accuracy": robust, "score": 0.9}, 0.7, figures)
    assert figures == {BEST: 0.6}
    with pytest.raises(
        CollapsedError, match=r"stage 'teacher' collapsed before step 40: PGD leaves 1.0% .* 60.0% at "
    ) as told:
        rule.check(("teacher",), 40, {"adversarial_accuracy": 0.01, "score": 0.45}, 0.9, figures)
    for advice in ("under their own attack have 90.0%", "The best checkpoint is left.", "more attack steps", "AWP"):
        assert advice in str(told.value)
    assert figures == {BEST: 0.6}


def test_of_networks_side_by_side_the_one_that_collapsed_is_named():
    rule = CollapseRule(0.5, 0.1)
    figures = rule.check(("a", "b"), 10, {"adversarial_accuracy": np.array([0.6, 0.5])}, np.array([0.7, 0.7]), {})
    assert figures[BEST].tolist() == [0.6, 0.5]
    figures = rule.check(("a", "b"), 20, {"adversarial_accuracy": np.array([0.4, 0.6])}, np.array([0.7, 0.7]), figures)
    assert figures[BEST].tolist() == [0.6, 0.6]
    with pytest.raises(CollapsedError, match="stage 'b' collapsed before step 30: PGD leaves 1.0%.*60.0% at its best"):
        rule.check(("a", "b"), 30, {"adversarial_accuracy": np.array([0.5, 0.01])}, np.array([0.7, 0.9]), figures)
