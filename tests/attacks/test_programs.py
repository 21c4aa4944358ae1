"""Attacks by name and in runs: what a name means, and that fooled examples are not attacked again."""

from functools import partial
import zlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
from problems import KEY, linear
import pytest

from rnas.attacks import apgd, cw, direct, fab, fgsm, mim, pgd, programs, square, verdict
from rnas.attacks.catalogue import NAMES, Attack
from rnas.attacks.programs import RunSettings, folded, in_turn, ranked, runs_of, take
from rnas.attacks.random_start import per_example_keys
from rnas.attacks.result import AttackResult
from rnas.attacks.verdict import DRAWS, judge

CLASSES = 4


# --- Names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "norm", "classes", "number", "settings", "cost"),
    [
        ("fgsm", "linf", 2, 1, {"steps": 1, "start": "none"}, 4),
        ("pgd_20", "linf", 2, 1, {"steps": 20, "start": "uniform", "step_size": "ε/4", "loss": "ce"}, 61),
        ("pgd_20_step_0.8", "linf", 2, 1, {"steps": 20, "step_size": "ε/10"}, 61),
        ("pgd_100_ce*5", "l2", 10, 5, {"steps": 100, "start": "uniform", "loss": "ce", "restarts": 5}, 301),
        ("pgd_100*2", "l2", 10, 4, {"steps": 100, "loss": "ce then margin", "restarts": 2}, 301),
        ("mim_10", "l2", 10, 1, {"steps": 10, "start": "none", "step_size": "ε/10"}, 31),
        ("cw_30*2", "linf", 10, 2, {"steps": 30, "start": "uniform", "step_size": "0.095625 ε"}, 91),
        ("apgd_ce", "linf", 2, 1, {"steps": 100, "loss": "ce", "start": "random", "eot": 1}, 303),
        ("apgd_ce*5", "l1", 10, 5, {"loss": "ce", "restarts": 5}, 309),
        ("apgd_margin", "l2", 2, 1, {"loss": "margin"}, 303),
        ("apgd_dlr*3", "linf", 3, 3, {"loss": "dlr", "restarts": 3}, 303),
        ("apgd_t", "linf", 4, 3, {"steps": 100, "loss": "dlr_targeted", "targets": 3}, 304),
        ("apgd_t", "l2", 10, 9, {"targets": 9}, 304),
        ("apgd_t", "linf", 100, 9, {"targets": 9}, 304),
        ("apgd_t", "l1", 5, 4, {"targets": 4}, 310),
        ("apgd_t", "l1", 100, 5, {"targets": 5}, 310),
        ("fab", "linf", 5, 1, {"steps": 100, "restarts": 1, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}, 1300),
        ("fab*5", "l2", 5, 1, {"restarts": 5}, 6500),
        ("fab_t", "linf", 2, 1, {"targets": 1}, 401),
        ("fab_t", "l1", 8, 7, {"targets": 7, "steps": 100}, 401),
        ("fab_t", "l1", 100, 9, {"targets": 9}, 401),
        ("square", "linf", 2, 10, {"queries": 5000, "p_init": 0.8, "rescaled_schedule": False}, 501),
    ],
)
def test_what_a_name_means(name, norm, classes, number, settings, cost):
    found = runs_of(name, norm, classes)
    assert [(run.number, run.of) for run in found] == [(i, number) for i in range(number)]
    attack = name.partition("*")[0]
    assert {run.name for run in found} == {attack}
    key_name = attack.removesuffix("_ce") if attack.startswith("pgd") else attack
    assert {run.key_number for run in found} == {zlib.crc32(key_name.encode())}
    assert all(run.settings.items() >= settings.items() for run in found)
    assert found[0].settings.get("restarts", 1) == int(name.partition("*")[2] or 1)
    assert found[0].cost == cost
    assert [run.continues for run in found] == [attack == "square" and i > 0 for i in range(number)]
    if attack == "square":
        assert {run.cost for run in found[1:]} == {500}
    else:
        assert {(run.program, run.cost) for run in found} == {(found[0].program, cost)}
    expected = attack if number == 1 else f"{attack} {number}/{number}"
    assert found[-1].label == expected
    at = found[-1].at(0.25)
    assert isinstance(at, RunSettings) and (at.epsilon, at.number) == (0.25, number - 1)
    assert all(isinstance(value, np.generic) for value in at)  # arrays, or each would be another program
    if attack not in ("square", "fgsm"):
        assert at.steps == settings.get("steps", 100)


def test_runs_that_differ_in_numbers_share_a_program():
    def program(name, norm="linf", classes=5, **more):
        return runs_of(name, norm, classes, **more)[0].program

    assert program("pgd_10") is program("pgd_200*3") is program("pgd_10", classes=9) is program("cw_10")
    assert program("mim_10") is program("fgsm")
    assert program("apgd_t") is program("apgd_t", classes=30)
    assert program("square") is program("square")
    others = [program("pgd_10"), program("pgd_10", "l2"), program("mim_10"), program("apgd_ce")]
    others += [program("apgd_ce", eot=2), program("fab"), program("fab*2"), program("fab_t"), program("square")]
    others += [runs_of("square", "linf", 5)[1].program]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_list_is_known(name):
    assert runs_of(name.replace("<steps>", "7"), "linf", 5)


@pytest.mark.parametrize(
    ("name", "norm", "classes", "words"),
    [
        ("pgd", "linf", 5, r"unknown attack 'pgd'; expected one of fgsm, pgd_<steps>"),
        ("pgd_0", "linf", 5, "unknown attack 'pgd_0'"),
        ("pgd_1e2", "linf", 5, "unknown attack 'pgd_1e2'"),
        ("pgd-20", "linf", 5, "unknown attack 'pgd-20'"),
        ("PGD_20", "linf", 5, "unknown attack"),
        ("", "linf", 5, "unknown attack ''"),
        ("fgsm_3", "linf", 5, "unknown attack"),
        ("apgd", "linf", 5, "unknown attack 'apgd'"),
        ("apgd_ce_50", "linf", 5, "unknown attack"),
        ("apgd_t*2", "linf", 5, "takes no restarts"),
        ("fab_t*2", "l2", 5, "takes no restarts"),
        ("square*2", "l2", 5, "takes no restarts"),
        ("pgd_20*", "linf", 5, "expected a number of restarts"),
        ("pgd_20*-1", "linf", 5, "expected a number of restarts"),
        ("pgd_20*0", "linf", 5, "at least once"),
        ("fab*0", "linf", 5, "at least once"),
        ("fgsm*2", "linf", 5, "fgsm takes no restarts"),
        ("mim_10*3", "l2", 5, "mim_10 takes no restarts"),
        ("pgd_20", "l1", 5, "dense gradient steps are far too weak; use apgd"),
        ("fgsm", "l1", 5, "use apgd"),
        ("cw_30", "l1", 5, "use apgd"),
        ("pgd_20", "l7", 5, "unknown norm 'l7'; expected one of linf, l2, l1"),
        ("apgd_dlr", "linf", 2, "at least 3 classes, and the model has K=2; use apgd_margin"),
        ("apgd_t", "linf", 3, "at least 4 classes, and the model has K=3; use apgd_dlr with three"),
        ("apgd_t", "l1", 2, "apgd_margin with two"),
        ("pgd_20", "linf", 1, "K=1 class cannot be fooled"),
        ("fab_t", "linf", 1, "K=1 class cannot be fooled"),
    ],
)
def test_refusals(name, norm, classes, words):
    with pytest.raises(ValueError, match=words):
        runs_of(name, norm, classes)


# --- Programs -----------------------------------------------------------------------------------------------


@pytest.fixture
def few_queries(monkeypatch):
    """Square of 40 queries in blocks of 10. Programs made under one number must not be found under another."""
    caches = (programs._fixed, direct._compiled)
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(programs, "QUERIES", 40)
    monkeypatch.setattr(programs, "BLOCK", 10)
    yield
    for cache in caches:
        cache.cache_clear()


COUNT, SHAPE = 7, (4, 5, 2)
_rng = np.random.default_rng(3)
HIDDEN = _rng.normal(0, 0.7, (40, 8)).astype(np.float32)
OUT = _rng.normal(0, 1.5, (8, CLASSES)).astype(np.float32)
IMAGES = _rng.uniform(0, 1, (COUNT, *SHAPE)).astype(np.float32)


def logits_fn(images):
    return jnp.tanh(linear(HIDDEN, images - 0.5)) @ OUT


LABELS = np.asarray(logits_fn(IMAGES)).argmax(1).astype(np.int32)
KEYS = per_example_keys(KEY, COUNT)
EPSILON, WIDE = 0.015, 0.12  # where some examples fall to gradients, and to a search at random


def made(run, epsilon=EPSILON, images=IMAGES, labels=LABELS, keys=KEYS, carry=None):
    keys = folded(keys, run.key_number)
    return direct.compiled(run.program, logits_fn)(images, labels, keys, run.at(epsilon), carry)


def attack_keys(name, number):
    return folded(folded(KEYS, zlib.crc32(name.encode())), number)


@pytest.mark.parametrize(
    ("name", "attack", "number", "epsilon"),
    [
        ("fgsm", fgsm, 0, 0.03),
        ("pgd_6*3", partial(pgd, steps=6), 2, 0.03),
        ("mim_6", partial(mim, steps=6), 0, 0.03),
        ("cw_6*2", partial(cw, steps=6), 1, 0.03),
        ("apgd_dlr*2", partial(apgd, loss="dlr"), 1, 0.05),  # where not all runs end in the same corner
    ],
)
def test_a_run_is_a_call_of_its_attack(name, attack, number, epsilon):
    """With its own keys, so that restarts differ."""
    kind = name.partition("*")[0]
    found, carry = made(runs_of(name, "linf", CLASSES)[number], epsilon)
    expected = attack(logits_fn, IMAGES, LABELS, epsilon=epsilon, key=attack_keys(kind, number))
    chex.assert_trees_all_close(found, expected, atol=1e-6)
    assert carry is None
    if number:
        other, _ = made(runs_of(name, "linf", CLASSES)[0], epsilon)
        assert not np.array_equal(found.loss, other.loss)
    assert found.success.any()


def test_targets_go_by_rank():
    logits = np.asarray(logits_fn(IMAGES))
    for number, run in enumerate(runs_of("apgd_t", "linf", CLASSES)):
        targets = logits.argsort(1)[:, -2 - number].astype(np.int32)
        found, _ = made(run)
        expected = apgd(
            logits_fn, IMAGES, LABELS, epsilon=EPSILON, key=attack_keys("apgd_t", number), loss="dlr_targeted",
            targets=targets,
        )  # fmt: skip
        chex.assert_trees_all_close(found, expected, atol=1e-5)
    distances = []
    for number, run in enumerate(runs_of("fab_t", "linf", CLASSES)):
        targets = logits.argsort(1)[:, -2 - number].astype(np.int32)
        found, _ = made(run)
        expected = fab(logits_fn, IMAGES, LABELS, epsilon=EPSILON, key=KEY, targets=targets)
        chex.assert_trees_all_close(found, expected, atol=1e-5)
        distances.append(-found.loss)
    assert not np.allclose(distances[0], distances[1])


def test_square_in_blocks_is_one_search(few_queries):
    """The queries and images of one call, although solved examples are dropped between blocks."""
    run_list = runs_of("square", "linf", CLASSES)
    assert len(run_list) == 4
    keys = folded(KEYS, zlib.crc32(b"square"))
    whole = square(logits_fn, IMAGES, LABELS, epsilon=WIDE, key=keys, queries=40)
    ends = np.where(whole.success, whole.queries, 1000)
    expected = [int(np.sum(ends > 1 + shown)) for shown in (-1, 10, 20, 30)]  # who stands before each block
    assert COUNT > expected[1] > expected[2] > 0
    queries, points, loss = np.zeros(COUNT, np.int32), IMAGES.copy(), np.zeros(COUNT, np.float32)
    fooled, attacked = np.zeros(COUNT, bool), []

    def attack(run, rows, carry):
        some = {"images": IMAGES[rows], "labels": LABELS[rows], "keys": KEYS[rows]}
        return jax.device_get(made(run, WIDE, **some, carry=carry))

    for _, rows, result in in_turn(run_list, attack, fooled):
        attacked.append(len(rows))
        queries[rows] += result.queries
        points[rows], loss[rows] = result.images, result.loss
    assert attacked == expected
    np.testing.assert_array_equal(fooled, whole.success)
    np.testing.assert_array_equal(queries, whole.queries)
    # A program for a smaller batch may round otherwise.
    np.testing.assert_allclose(points, whole.images, rtol=0, atol=1e-7)
    np.testing.assert_allclose(loss, whole.loss, atol=1e-6)


def test_square_blocks_keep_their_bits(few_queries):
    """Without dropping, so that every program sees one batch size: the same bits, loss included."""
    keys = folded(KEYS, zlib.crc32(b"square"))
    whole = square(logits_fn, IMAGES, LABELS, epsilon=WIDE, key=keys, queries=40)
    carry, queries = None, 0
    for run in runs_of("square", "linf", CLASSES):
        result, carry = made(run, WIDE, carry=carry)
        queries = queries + result.queries
    chex.assert_trees_all_equal(result._replace(queries=queries), whole)


# --- In turn ------------------------------------------------------------------------------------------------


def result_of(rows, success):
    nothing = np.zeros(len(rows))
    return AttackResult(nothing, success, nothing, nothing, success)


def stub(number, continues=False):
    return programs.AttackRun(Attack("stub", "Stub", "stub"), number, 9, None, 0, continues)


def test_each_run_sees_only_who_stands():
    """AttackRun i fools the rows whose number is i modulo 3; what it leaves to the next is compacted with them."""
    seen, carries = [], []

    def attack(run, rows, carry):
        seen.append(rows.tolist())
        carries.append(None if carry is None else jax.tree.map(list, carry))
        return result_of(rows, rows % 3 == run.number % 3), {"row": rows.copy(), "pair": (10 * rows,)}

    fooled = np.arange(8) == 7
    run_list = [stub(0), stub(1, True), stub(2), stub(3, True)]
    results = list(in_turn(run_list, attack, fooled))
    assert seen == [[0, 1, 2, 3, 4, 5, 6], [1, 2, 4, 5], [2, 5]]
    assert carries == [None, {"row": [1, 2, 4, 5], "pair": ([10, 20, 40, 50],)}, None]
    assert fooled.all()
    assert [run for run, _, _ in results] == run_list
    assert [rows.tolist() for _, rows, _ in results] == [*seen, []]
    assert [result is None for _, _, result in results] == [False, False, False, True]


def test_nothing_to_do_and_nobody_falls():
    def never(run, rows, carry):
        pytest.fail("nobody stands")

    for fooled in (np.ones(3, bool), np.zeros(0, bool)):
        assert [result for _, _, result in in_turn([stub(0), stub(1, True)], never, fooled)] == [None, None]

    carries = []

    def harmless(run, rows, carry):
        carries.append(carry)
        return result_of(rows, np.zeros(len(rows), bool)), 2 * rows if carry is None else carry + 1

    fooled = np.zeros(2, bool)
    assert len(list(in_turn([stub(0), stub(1, True), stub(2, True)], harmless, fooled))) == 3
    assert carries[0] is None and [carry.tolist() for carry in carries[1:]] == [[0, 2], [1, 3]]
    assert not fooled.any()


def test_runs_are_made_one_by_one():
    """Between two runs `fooled` is up to date, and what the caller adds to it counts."""
    ran = []

    def attack(run, rows, carry):
        ran.append((run.number, rows.tolist()))
        return result_of(rows, rows == 0), rows

    fooled = np.zeros(4, bool)
    turns = in_turn([stub(0), stub(1, True), stub(2, True)], attack, fooled)
    assert ran == []
    next(turns)
    assert ran == [(0, [0, 1, 2, 3])] and fooled.tolist() == [True, False, False, False]
    fooled[2] = True
    next(turns)
    assert ran[1:] == [(1, [1, 3])]
    turns.close()
    assert len(ran) == 2


def test_take():
    tree = {"a": np.arange(4), "b": (np.arange(8).reshape(4, 2), None)}
    taken = take(tree, np.array([3, 1, 1]))
    np.testing.assert_array_equal(taken["a"], [3, 1, 1])
    np.testing.assert_array_equal(taken["b"][0], [[6, 7], [2, 3], [2, 3]])
    assert take(None, np.array([0])) is None


# --- Verdicts and ranks -------------------------------------------------------------------------------------


def test_ranks():
    logits = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    for rank in (1, 2, 7):
        expected = [np.sort(row)[-rank] for row in logits]
        np.testing.assert_array_equal(logits[np.arange(20), ranked(logits, rank)], expected)
    traced = jax.jit(ranked)(logits, jnp.int32(3))
    np.testing.assert_array_equal(traced, ranked(logits, 3))


def test_rank_one_is_the_prediction_even_of_ties():
    """Or a label could be its own rival: logits of low precision tie often."""
    logits = np.random.default_rng(0).integers(0, 3, (50, 5)).astype(np.float32)
    np.testing.assert_array_equal(ranked(logits, 1), logits.argmax(1))
    ranks = np.stack([ranked(logits, rank) for rank in range(1, 6)], axis=1)
    np.testing.assert_array_equal(np.sort(ranks, axis=1), np.tile(np.arange(5), (50, 1)))


def test_judging_a_model():
    labels = LABELS.copy()
    labels[1] = (labels[1] + 1) % CLASSES
    found = verdict.judge_once(logits_fn, IMAGES, labels, KEYS, None, None)
    logits = np.asarray(logits_fn(IMAGES))
    np.testing.assert_array_equal(found["wrong"], np.arange(COUNT) == 1)
    np.testing.assert_array_equal(found["wrong_share"], np.arange(COUNT) == 1)
    np.testing.assert_array_equal(found["prediction"], LABELS)
    own = logits[np.arange(COUNT), labels]
    others = np.where(np.arange(CLASSES) == labels[:, None], -np.inf, logits).max(1)
    np.testing.assert_allclose(found["margin"], own - others, rtol=1e-5)


def test_judging_a_random_model():
    """From what each draw said: half of the draws wrong is fooled, one less is not."""
    said = []

    def model(images, key):
        noise = jax.random.uniform(key, (len(images), 1))
        logits = jnp.concatenate([noise, images[:, 0, 0, :1]], axis=1)
        jax.debug.callback(lambda rows: said.append(np.array(rows)), logits, ordered=True)
        return logits

    def run(levels):
        said.clear()
        images = np.broadcast_to(np.asarray(levels, np.float32)[:, None, None, None], (len(levels), 2, 3, 2))
        labels = np.zeros(len(levels), np.int32)
        found = jax.device_get(judged(images, labels, per_example_keys(KEY, len(levels)), None, None))
        jax.effects_barrier()
        return found, np.stack(said).reshape(DRAWS, len(levels), 2)  # each example alone, with draws of its own

    judged = jax.jit(partial(verdict.judge_draws, model))
    assert DRAWS == 20
    _, draws = run([0.5] * 3)
    noise = np.sort(draws[:, :, 0], axis=0)
    assert len(np.unique(noise)) == noise.size
    levels = (noise[[8, 9, 10], range(3)] + noise[[9, 10, 11], range(3)]) / 2  # above 9, 10 and 11 of 20
    found, again = run(levels)
    np.testing.assert_array_equal(again[:, :, 0], draws[:, :, 0])  # draws belong to the key
    np.testing.assert_allclose(found["wrong_share"], np.array([9, 10, 11]) / 20, rtol=1e-6)
    np.testing.assert_array_equal(found["wrong"], [False, True, True])
    np.testing.assert_allclose(found["margin"], (again[:, :, 0] - again[:, :, 1]).mean(0), atol=1e-6)
    np.testing.assert_array_equal(found["prediction"], again[-1].argmax(1))


def test_one_draw_is_no_verdict():
    """Three draws, of which one is wrong."""

    def model(images, key):
        second = jax.vmap(lambda own: jax.random.key_data(jax.random.fold_in(own, 1))[-1])(KEYS)
        wrong = jnp.any(jax.random.key_data(key)[-1] == second)
        return jnp.tile(jnp.where(wrong, jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0])), (len(images), 1))

    found = judge(3, model, IMAGES, np.zeros(COUNT, np.int32), KEYS, None, None)
    np.testing.assert_allclose(found["wrong_share"], 1 / 3, rtol=1e-6)
    assert not found["wrong"].any()
    np.testing.assert_allclose(found["margin"], 1 / 3, rtol=1e-6)
