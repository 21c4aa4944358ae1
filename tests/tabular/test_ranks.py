"""Ranks, summaries and correlations, on tables small_table enough to count by hand."""

import math

import numpy as np
import pytest

from rnas.tabular import RobBench, best_share, correlate, count_operations, ranking, summarize


def test_ranking_puts_the_smaller_id_of_equals_first_and_leaves_holes_out(small_table):
    assert ranking(small_table, "cifar10/clean") == (1, 2, 10, 0, 3)
    assert ranking(small_table, "cifar10/pgd_8") == (1, 0, 10, 3)


def test_of_costs_the_least_is_best(small_table):
    # Codes 421211, 334131, 433444, 410001, 333000: no convolution in id 3; three, three, two and one of others.
    assert ranking(small_table, "cifar10/macs")[0] == 3
    assert summarize(small_table, "cifar10/macs").best == 7_783_040


def test_summary(small_table):
    clean = summarize(small_table, "cifar10/clean")
    assert clean == (0.6, pytest.approx(0.52), 0.7, 1, 5)
    assert summarize(small_table, "cifar10/pgd_8") == (pytest.approx(0.25), pytest.approx(0.25), 0.4, 1, 4)


def test_best_share_rounds_down(small_table):
    assert best_share(small_table, "cifar10/clean", 0.59) == (1, 2)
    assert best_share(small_table, "cifar10/clean", 1) == ranking(small_table, "cifar10/clean")
    for share in (0, 0.39, 1.1, -1):
        with pytest.raises(ValueError, match=f"share {share} of 5 classes"):
            best_share(small_table, "cifar10/clean", share)


def test_operations_are_counted_by_edge():
    counts = {"none": 3, "skip_connect": 1, "nor_conv_1x1": 0, "nor_conv_3x3": 8, "avg_pool_3x3": 0}
    assert count_operations([9930, 10]) == counts  # 333133 and 333000


def test_correlations_by_their_definitions(small_table):
    # In common: ids 0, 1, 3, 10 with clean .5 .7 .1 .6 and pgd_8 .3 .4 .1 .2. Ranks 2 4 1 3 and 3 4 1 2:
    # sum of squared differences 2, and one of six pairs discordant.
    found = correlate(small_table, "cifar10/clean", "cifar10/pgd_8")
    assert found[:2] == (pytest.approx(1 - 6 * 2 / (4 * 15)), pytest.approx((5 - 1) / 6)) and found.count == 4
    assert correlate(small_table, "cifar10/clean", "cifar10/pgd_8", ids=(3, 1))[:2] == pytest.approx((1, 1))


def test_ties_share_their_rank():
    table = RobBench(
        "tied", "", (0, 1, 2, 3), {"a/clean": np.array([1, 1, 2, 3.0]), "a/pgd_8": np.array([1, 2, 3, 4.0])}
    )
    spearman, kendall, *_ = correlate(table, "a/clean", "a/pgd_8")
    assert spearman == pytest.approx(np.corrcoef([1.5, 1.5, 3, 4], [1, 2, 3, 4])[0, 1])
    assert kendall == pytest.approx(5 / math.sqrt(6 * 5))  # tau-b: one pair is tied in the first


def test_a_constant_column_has_no_correlation(small_table):
    found = correlate(small_table, "cifar10/clean", "cifar10/autoattack")
    assert math.isnan(found.spearman) and math.isnan(found.kendall) and found.count == 5


def test_what_cannot_be_correlated_is_named(small_table):
    with pytest.raises(ValueError, match="have 1 classes in common"):
        correlate(small_table, "cifar10/clean", "cifar10/pgd_8", ids=(0, 2))
    with pytest.raises(ValueError, match="nearest is 'cifar10/pgd_8'"):
        correlate(small_table, "cifar10/clean", "cifar10/pgd")


def test_a_table_beside_another(small_table):
    class_of = {number: row for row, number in enumerate(small_table.ids)}
    other = RobBench("other", "", (2, 10, 12), {"cifar10/clean": np.array([0.25, 0.5, 0.75])})
    both = small_table.joined(other, "score")
    expected = np.full(5, np.nan)
    expected[class_of[2]], expected[class_of[10]] = 0.25, 0.5
    np.testing.assert_array_equal(both.column("cifar10/score_clean"), expected)
    np.testing.assert_array_equal(both.column("cifar10/clean"), small_table.column("cifar10/clean"))
    assert both.ids == small_table.ids and "cifar10/score_clean" not in small_table.columns
