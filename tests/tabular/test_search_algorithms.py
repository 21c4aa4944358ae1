"""Search algorithms on scores of the tests' own: what each may query next, and what a simulation makes of it."""

import itertools

import numpy as np
import pytest

from rnas.spaces.nasbench201 import SIZE, encodings, identify, neighbours, representatives
from rnas.tabular import RobBench, expected_best, hypervolume, queries, ranking, simulate
from rnas.tabular.simulation import (
    Simulation,
    evolution,
    local_search,
    non_dominated,
    pareto_local_search,
    random_search,
    spaced,
)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def rugged():
    """Scores [15625, 1] without structure."""
    return generator(7).random((SIZE, 1))


@pytest.fixture(scope="module")
def smooth():
    """Scores [15625, 1] with one summit, 444444: the sum of the digits, and a little that breaks ties."""
    return encodings().sum(1, keepdims=True) + generator(8).permutation(SIZE)[:, None] / (2 * SIZE)


@pytest.fixture(scope="module")
def several():
    """Scores [15625, 2]: threes against fours."""
    return np.stack([(encodings() == 3).sum(1), (encodings() == 4).sum(1)], 1).astype(float)


# -- algorithms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [random_search, evolution, local_search, pareto_local_search])
@pytest.mark.parametrize("budget", [1, 7, 50, 51, 120])
def test_the_budget_is_spent(search, budget, rugged):
    queries = search(rugged, budget, generator())
    assert len(queries) == budget and all(isinstance(number, int) and 0 <= number < SIZE for number in queries)
    assert queries == search(rugged, budget, generator())
    assert queries != search(rugged, budget, generator(1))


def test_random_search_is_uniform(rugged):
    counts = np.bincount(random_search(rugged, 40 * SIZE, generator()), minlength=SIZE)
    assert ((counts - 40) ** 2 / 40).sum() == pytest.approx(SIZE, rel=5 * (2 / SIZE) ** 0.5)  # chi-squared


def test_evolution_changes_one_edge_of_a_good_young_member(rugged):
    queries = evolution(rugged, 400, generator())
    scores = rugged[:, 0]
    for at in range(50, 400):
        population = queries[at - 50 : at]
        parents = [member for member in population if queries[at] in neighbours()[member]]
        # At least 9 members are not better than the best of 10 that were drawn.
        assert any(np.sum(scores[population] <= scores[parent]) >= 10 for parent in parents)


def test_evolution_of_several_objectives_keeps_to_the_front(several):
    queries = np.array(evolution(several, 600, generator()))
    totals = several[queries].sum(1)
    assert totals[-50:].mean() > totals[:50].mean() + 2  # nothing dominates six threes and fours
    assert np.ptp(several[queries[-300:], 0]) >= 3  # and they are not all of one kind


def follow(queries, scores):
    """Checks a climb from its queries alone; returns the centres."""
    known, at, centres = set(), 0, []
    while at < len(queries):
        centre = queries[at]
        assert centre not in known  # a start is new
        known.add(centre)
        at += 1
        while True:
            centres.append(centre)
            around = set(neighbours()[centre].tolist())
            new = around - known
            assert set(queries[at : at + len(new)]) <= new
            known |= new
            at += len(new)
            best = max(around, key=lambda number: scores[number])
            if at >= len(queries) or scores[best] <= scores[centre]:
                break
            centre = best
    return centres


def test_local_search_climbs_and_starts_anew(rugged):
    queries = local_search(rugged, 1000, generator())
    assert len(set(queries)) == 1000
    assert len(follow(queries, rugged[:, 0])) > 40


def test_local_search_climbs_by_the_steepest_way(smooth):
    queries = local_search(smooth, 24 * 7, generator(3))
    summit = identify("444444")
    at = queries.index(summit)
    # From digits d the best neighbour changes the smallest to 4.
    steps = int((encodings()[queries[0]] != 4).sum())
    assert at <= 1 + 24 * steps
    centres = follow(queries[: at + 1], smooth[:, 0])
    expected = sorted(encodings()[queries[0]])
    for centre in centres:
        assert sorted(encodings()[centre]) == expected
        expected = sorted([*expected[1:], 4])


def test_neighbours_are_queried_in_random_order(rugged):
    columns = []
    for seed in range(200):
        first, second = local_search(rugged, 2, generator(seed))
        columns.append(neighbours()[first].tolist().index(second))
    assert len(set(columns)) == 24


def test_nothing_is_left_at_the_end(rugged):
    assert sorted(local_search(rugged, SIZE, generator())) == list(range(SIZE))
    two = np.hstack([rugged, rugged[::-1]])
    assert sorted(pareto_local_search(two, SIZE + 5, generator())) == list(range(SIZE))


def test_pareto_local_search_finds_a_front(several):
    queries = pareto_local_search(several, 700, generator())
    assert len(set(queries)) == 700
    found = np.unique(several[queries][non_dominated(several[queries])], axis=0)
    np.testing.assert_array_equal(found, [[threes, 6 - threes] for threes in range(7)])
    # The second query is a neighbour of the first; so is each up to the 25th.
    assert set(queries[1:25]) == set(neighbours()[queries[0]].tolist())


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_non_dominated_points(dimensions):
    points = generator().integers(0, 5, (60, dimensions)).astype(float)
    expected = [not any((q >= p).all() and (q > p).any() for q in points) for p in points]
    assert non_dominated(points).tolist() == expected


# -- simulations ----------------------------------------------------------------------------------------


def test_hypervolume_of_boxes():
    assert hypervolume(np.array([[0.5], [0.2]])) == 0.5
    assert hypervolume(np.array([[1.0, 0.5], [0.5, 1.0]])) == pytest.approx(0.75)
    assert hypervolume(np.array([[1.0, 0.5], [0.5, 1.0], [0.4, 0.4]])) == pytest.approx(0.75)
    assert hypervolume(np.array([[1.0, 0.5, 2.0], [0.5, 1.0, 3.0]])) == pytest.approx(1.0 + 1.5 - 0.5)
    assert hypervolume(np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])) == 0.0


@pytest.mark.parametrize("dimensions", [2, 3, 4])
def test_hypervolume_by_inclusion_and_exclusion(dimensions):
    points = generator().integers(1, 6, (7, dimensions)).astype(float)
    union = sum(
        (-1) ** (size + 1) * np.min(subset, axis=0).prod()
        for size in range(1, len(points) + 1)
        for subset in itertools.combinations(points, size)
    )
    assert hypervolume(points) == pytest.approx(union)


def test_expected_best_of_draws():
    scores = np.array([0.3, 0.1, 0.1, 0.7])
    for draws in (1, 2, 3):
        every = [max(choice) for choice in itertools.product(scores, repeat=draws)]
        assert expected_best(scores, np.array([draws]))[0] == pytest.approx(np.mean(every))
    assert expected_best(scores, np.array([1, 500]))[1] == pytest.approx(0.7)


@pytest.fixture(scope="module")
def table():
    """A complete table of one data set, whose accuracies are distances from a code."""
    ids = np.unique(representatives())
    near = 1 - (encodings()[ids] != [3, 3, 3, 1, 3, 3]).mean(1)
    noise = generator(5).random(len(ids))
    return RobBench(
        "made up", "", tuple(ids.tolist()), {"cifar10/clean": 0.9 * near, "cifar10/pgd_8": 0.5 * near * noise}
    )


@pytest.mark.parametrize("algorithm", ["random", "evolution", "local_search"])
def test_simulation(table, algorithm):
    done = simulate(table, ["cifar10/pgd_8"], algorithm, budget=60, repeats=5, seed=3)
    assert done.queries.shape == (5, 60)
    scores = table.scores("cifar10/pgd_8")
    for row, chosen, reached, when in zip(
        done.queries.tolist(), done.chosen(), done.reached(), done.queries_to_optimum(), strict=True
    ):
        for at in range(60):
            assert chosen[at] == max(row[: at + 1], key=lambda number: scores[number])
            assert reached[at] == scores[row[: at + 1]].max()
        hits = [at for at, number in enumerate(row, start=1) if scores[number] == scores.max()]
        assert when == hits[0] if hits else np.isnan(when)
    again = simulate(table, ["cifar10/pgd_8"], algorithm, budget=60, repeats=3, seed=3)
    np.testing.assert_array_equal(again.queries, done.queries[:3])  # a repeat does not depend on how many there are
    assert (
        simulate(table, ["cifar10/pgd_8"], algorithm, budget=60, repeats=1, seed=4).queries != done.queries[0]
    ).any()


def test_optimum_may_stay_unfound():
    scores = np.array([[0.1], [0.5], [0.5], [0.2]])
    done = Simulation(("a",), "random", 0, scores, np.array([[0, 3, 2, 1], [0, 3, 3, 0]]))
    np.testing.assert_array_equal(done.queries_to_optimum(), [3, np.nan])
    np.testing.assert_array_equal(done.chosen(), [[0, 3, 2, 2], [0, 3, 3, 3]])


def test_costs_are_searched_downwards(table):
    done = simulate(table, ["cifar10/macs"], "local_search", budget=150, repeats=3)
    assert (done.reached()[:, -1] == -7_783_040).all()


def test_search_for_a_front(table):
    objectives = ["cifar10/clean", "cifar10/pgd_8", "cifar10/macs"]
    for algorithm in ("random", "evolution", "local_search"):
        done = simulate(table, objectives, algorithm, budget=80, repeats=3)
        volumes = done.hypervolumes(np.array([1, 40, 80]))
        assert (np.diff(volumes, axis=1) >= 0).all() and (volumes > 0).all() and (volumes < 1).all()
        assert (done.front_shares() >= 0).all() and (done.front_shares() < 1).all()
    whole = Simulation(tuple(objectives), "random", 0, done.scores, np.arange(SIZE)[None])
    assert whole.hypervolumes(np.array([SIZE]))[0, 0] == pytest.approx(1) and whole.front_shares() == [1.0]


def test_curves(table):
    done = simulate(table, ["cifar10/pgd_8"], "random", budget=300, repeats=11)
    found = queries.search(table, done)["curve"]
    values = done.reached()[:, np.array(found["queries"]) - 1]
    np.testing.assert_allclose(found["mean"], values.mean(0))
    assert list(found["quantiles"]) == ["0.1", "0.25", "0.5", "0.75", "0.9"]
    for quantile, row in found["quantiles"].items():
        # Of 11 values in order, quantile q lies at place 10 q.
        at = [np.interp(10 * float(quantile), range(11), np.sort(column)) for column in values.T]
        np.testing.assert_allclose(row, at)
    assert spaced(3).tolist() == [1, 2, 3]
    assert len(spaced(1000)) == 200 and spaced(1000)[[0, -1]].tolist() == [1, 1000]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "annealing"}, "no algorithm is named 'annealing'; there are random, evolution, local_search"),
        ({"objectives": ["cifar10/pgd"]}, "nearest is 'cifar10/pgd_8'"),
        ({"objectives": ["cifar10/clean"] * 2}, "one or more different columns"),
        ({"objectives": []}, "objectives none"),
        ({"budget": 0}, "budget=0: expected 1 to 15625"),
        ({"budget": 15_626}, "budget=15626"),
        ({"repeats": 0}, "repeats=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_impossible_simulations_are_refused(table, options, message):
    given = {"objectives": ["cifar10/clean"], "algorithm": "random", "budget": 5, "repeats": 2, **options}
    with pytest.raises(ValueError, match=message):
        simulate(table, **given)


def test_a_partial_table_is_not_searched(small_table):
    assert ranking(small_table, "cifar10/clean")
    with pytest.raises(ValueError, match="a search needs a complete table"):
        simulate(small_table, ["cifar10/clean"], "random", budget=5, repeats=1)
