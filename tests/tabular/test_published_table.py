"""The released table of NAS-RobBench-201: its statistics, and what searches on it reach."""

import numpy as np
import pytest

from rnas.spaces.nasbench201 import neighbours
from rnas.tabular import (
    best_share,
    correlate,
    count_operations,
    expected_best,
    load_robbench,
    ranking,
    simulate,
    summarize,
)

METRICS = ("clean", "fgsm_3", "pgd_3", "fgsm_8", "pgd_8", "autoattack")


@pytest.fixture(scope="module")
def table(shared):
    folder = shared / "data/nas_robbench_201"
    return load_robbench(folder, standard=folder / "acc.json")


@pytest.mark.parametrize(
    ("column", "median", "mean", "best", "best_id"),
    [
        ("cifar10/clean", 0.7064, 0.6776, 0.7956, 9930),
        ("cifar10/fgsm_3", 0.6164, 0.5880, 0.6973, 13714),
        ("cifar10/pgd_3", 0.6128, 0.5846, 0.6924, 9930),
        ("cifar10/fgsm_8", 0.4643, 0.4408, 0.5351, 2581),
        ("cifar10/pgd_8", 0.4275, 0.4075, 0.4811, 2581),
        ("cifar10/autoattack", 0.3870, 0.3665, 0.4438, 9930),
        ("cifar100/clean", 0.3916, 0.3741, 0.5046, 9930),
        ("cifar100/pgd_8", 0.2033, 0.1922, 0.2467, 13714),
        ("cifar100/autoattack", 0.1655, 0.1555, 0.2093, 9930),
        ("imagenet16/clean", 0.1042, 0.1041, 0.1616, 2581),
        ("imagenet16/pgd_8", 0.0577, 0.0562, 0.0745, 6111),
        ("imagenet16/autoattack", 0.0350, 0.0338, 0.0462, 13714),
    ],
)
def test_summary(table, column, median, mean, best, best_id):
    found = summarize(table, column)
    assert found[:3] == pytest.approx((median, mean, best), abs=0.5001e-4)
    assert found[3:] == (best_id, 6466)


@pytest.mark.parametrize(
    ("number", "row"),
    [
        (9930, (0.796, 0.697, 0.692, 0.533, 0.478, 0.444)),
        (2581, (0.794, 0.696, 0.689, 0.535, 0.481, 0.443)),
        (13714, (0.795, 0.697, 0.691, 0.532, 0.477, 0.443)),
        (1000, (0.768, 0.672, 0.666, 0.511, 0.463, 0.426)),
    ],
)
def test_rows(table, number, row):
    assert [table.query(number, "cifar10", metric) for metric in METRICS] == pytest.approx(row, abs=0.5001e-3)


def test_dead_cells_are_at_chance(table):
    for number in (10, 12, 74, 172, 879):
        for dataset, chance in (("cifar10", 0.1), ("cifar100", 0.01), ("imagenet16", 1 / 120)):
            assert table.query(number, dataset, "clean") == pytest.approx(chance, abs=2e-3)


def test_autoattack_is_never_weaker_than_pgd(table):
    for dataset in table.datasets:
        assert (table.column(f"{dataset}/autoattack") <= table.column(f"{dataset}/pgd_8")).all()


def test_operations_of_the_best(table):
    counts = {"none": 2, "skip_connect": 8, "nor_conv_1x1": 9, "nor_conv_3x3": 41, "avg_pool_3x3": 0}
    assert count_operations(ranking(table, "cifar10/pgd_8")[:10]) == counts


@pytest.mark.parametrize(
    ("one", "other", "spearman"),
    [
        ("cifar10/clean", "cifar10/fgsm_8", 0.989),
        ("cifar10/clean", "cifar10/pgd_8", 0.985),
        ("cifar10/clean", "cifar10/autoattack", 0.982),
        ("cifar10/fgsm_8", "cifar10/pgd_8", 0.998),
        ("cifar10/pgd_8", "cifar10/autoattack", 0.997),
        ("cifar10/clean", "cifar100/clean", 0.979),
        ("cifar10/pgd_8", "cifar100/pgd_8", 0.988),
        ("cifar10/autoattack", "cifar100/autoattack", 0.987),
        ("cifar10/clean", "imagenet16/clean", 0.854),
        ("cifar10/pgd_8", "imagenet16/pgd_8", 0.863),
        ("cifar10/autoattack", "imagenet16/autoattack", 0.845),
        ("cifar100/clean", "imagenet16/clean", 0.900),
        ("cifar100/pgd_8", "imagenet16/pgd_8", 0.894),
        ("cifar100/autoattack", "imagenet16/autoattack", 0.853),
        ("cifar10/clean", "cifar10/standard_clean", 0.977),
        ("cifar10/pgd_8", "cifar10/standard_clean", 0.970),
        ("cifar10/fgsm_8", "cifar10/standard_clean", 0.974),
        ("cifar10/fgsm_8", "cifar10/standard_fgsm", 0.870),
        ("cifar10/pgd_8", "cifar10/standard_pgd", 0.305),
        ("cifar10/pgd_8", "cifar10/standard_corruptions", 0.809),
        ("cifar10/clean", "cifar10/standard_pgd", 0.247),
    ],
)
def test_rank_correlations(table, one, other, spearman):
    assert correlate(table, one, other).spearman == pytest.approx(spearman, abs=0.5001e-3)


@pytest.mark.parametrize(
    ("one", "other", "kendall"),
    [
        ("cifar10/clean", "cifar10/pgd_8", 0.895),
        ("cifar10/pgd_8", "cifar10/autoattack", 0.954),
        ("cifar10/clean", "cifar10/autoattack", 0.886),
        ("cifar10/pgd_8", "cifar100/pgd_8", 0.907),
        ("cifar10/pgd_8", "imagenet16/pgd_8", 0.683),
    ],
)
def test_kendall(table, one, other, kendall):
    assert correlate(table, one, other).kendall == pytest.approx(kendall, abs=0.5001e-3)


@pytest.mark.parametrize(
    ("share", "other", "spearman"),
    [
        (0.1, "cifar10/pgd_8", 0.548),
        (0.1, "cifar10/autoattack", 0.501),
        (0.2, "cifar10/pgd_8", 0.763),
        (0.2, "cifar10/autoattack", 0.739),
    ],
)
def test_rank_correlations_among_good_cells(table, share, other, spearman):
    ids = best_share(table, "cifar10/clean", share)
    assert len(ids) == int(share * 6466)
    # Which of the classes that tie for the last place belongs to them is open; it moves the third digit by three.
    last = table.query(ids[-1], "cifar10", "clean")
    tied = np.asarray(table.ids)[table.column("cifar10/clean") == last]
    choices = [correlate(table, "cifar10/clean", other, ids=[*ids[:-1], number]).spearman for number in tied]
    assert len(tied) > 1 and choices[0] == correlate(table, "cifar10/clean", other, ids=ids).spearman
    assert any(choice == pytest.approx(spearman, abs=0.5001e-3) for choice in choices)
    assert np.ptp(choices) < 3.5e-3


# -- searches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("cifar10/clean", (0.7516, 0.7693, 0.7746, 0.7773, 0.7816, 0.7846)),
        ("cifar10/fgsm_8", (0.5014, 0.5155, 0.5191, 0.5209, 0.5238, 0.5257)),
        ("cifar10/pgd_8", (0.4566, 0.4675, 0.4700, 0.4714, 0.4734, 0.4746)),
        ("cifar10/autoattack", (0.4175, 0.4287, 0.4315, 0.4329, 0.4352, 0.4368)),
    ],
)
def test_exact_mean_of_random_search(table, objective, expected):
    found = expected_best(table.scores(objective), np.array([10, 50, 100, 150, 300, 500]))
    assert found == pytest.approx(expected, abs=0.5001e-4)


@pytest.mark.parametrize(("metric", "count"), [("pgd_8", 12), ("clean", 31), ("fgsm_8", 35), ("autoattack", 23)])
def test_local_optima(table, metric, count):
    scores = table.scores(f"cifar10/{metric}")
    assert (scores[neighbours()].max(1) <= scores).sum() == count


# Mean of the objective over 200 searches of 150 queries of an independent simulation.
@pytest.mark.parametrize(
    ("metric", "algorithm", "mean"),
    [
        ("clean", "random", 0.7777),
        ("clean", "evolution", 0.7934),
        ("clean", "local_search", 0.7926),
        ("fgsm_8", "evolution", 0.5326),
        ("fgsm_8", "local_search", 0.5336),
        ("pgd_8", "random", 0.4711),
        ("pgd_8", "evolution", 0.4782),
        ("pgd_8", "local_search", 0.4800),
    ],
)
def test_simulated_searches(table, metric, algorithm, mean):
    found = simulate(table, [f"cifar10/{metric}"], algorithm, budget=150, repeats=200)
    assert found.reached()[:, -1].mean() == pytest.approx(mean, abs=1e-3)


@pytest.mark.parametrize("metric", ["clean", "fgsm_8", "pgd_8"])
def test_random_searches_have_the_exact_mean(table, metric):
    found = simulate(table, [f"cifar10/{metric}"], "random", budget=150, repeats=1000)
    reached = found.reached()[:, -1]
    exact = expected_best(table.scores(f"cifar10/{metric}"), np.array([150]))[0]
    assert abs(reached.mean() - exact) < 3 * reached.std() / 1000**0.5


@pytest.mark.parametrize(
    ("algorithm", "means"),
    [
        ("evolution", (0.4672, 0.4762, 0.4782, 0.4795, 0.4807, 0.4811)),
        ("local_search", (0.4680, 0.4773, 0.4800, 0.4805, 0.4811, 0.4811)),
    ],
)
def test_curve_by_budget(table, algorithm, means):
    found = simulate(table, ["cifar10/pgd_8"], algorithm, budget=500, repeats=200)
    reached = found.reached()[:, np.array([50, 100, 150, 200, 300, 500]) - 1]
    assert reached.mean(0) == pytest.approx(means, abs=1e-3)


@pytest.mark.parametrize(("metric", "best"), [("pgd_8", 2581), ("fgsm_8", 2581), ("clean", 9930)])
def test_local_search_all_but_always_ends_at_the_best(table, metric, best):
    found = simulate(table, [f"cifar10/{metric}"], "local_search", budget=500, repeats=200)
    assert (found.chosen()[:, -1] == best).mean() > 0.98


def test_searches_for_the_front_close_in_on_it(table):
    objectives = ["cifar10/clean", "cifar10/pgd_8", "cifar10/macs"]
    shares = {}
    for algorithm in ("random", "evolution", "local_search"):
        found = simulate(table, objectives, algorithm, budget=500, repeats=20)
        volumes = found.hypervolumes(np.array([50, 500]))
        assert (volumes[:, 1] > volumes[:, 0]).all() and (volumes < 1).all()
        shares[algorithm] = found.front_shares().mean()
    assert shares["local_search"] > shares["evolution"] > shares["random"]
