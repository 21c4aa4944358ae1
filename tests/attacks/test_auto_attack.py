"""AutoAttack: the versions as published, the worst case over their attacks, and the edges of batches and classes."""

from functools import partial
import importlib

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
from problems import DUAL, KEY
import pytest

from rnas.attacks import auto_attack, direct, programs
from rnas.attacks.auto_attack import Plan, plan_auto_attack
from rnas.attacks.catalogue import Attack
from rnas.attacks.programs import AttackRun, folded, runs_of
from rnas.attacks.projections import distance
from rnas.attacks.random_start import per_example_keys
from rnas.attacks.result import AttackResult

module = importlib.import_module("rnas.attacks.auto_attack")  # the package has a function of that name


@pytest.fixture(scope="module", autouse=True)
def few_queries():
    """Square of 40 queries in blocks of 10. Programs made under one number must not be found under another."""
    caches = (programs._fixed, direct._compiled)
    for cache in caches:
        cache.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "QUERIES", 40)
        patch.setattr(programs, "BLOCK", 10)
        yield
    for cache in caches:
        cache.cache_clear()


# --- Versions -----------------------------------------------------------------------------------------------

# (attack, runs, restarts, targets) in order, with ten classes.
SQUARE = ("square", 4, None, None)
STANDARD = [("apgd_ce", 1, 1, None), ("apgd_t", 9, None, 9), ("fab_t", 9, None, 9), SQUARE]
SPARSE = [("apgd_ce", 5, 5, None), ("apgd_t", 5, None, 5), ("fab_t", 9, None, 9), SQUARE]
PLUS = [
    ("apgd_ce", 5, 5, None),
    ("apgd_dlr", 5, 5, None),
    ("fab", 1, 5, None),
    SQUARE,
    ("apgd_t", 9, None, 9),
    ("fab_t", 9, None, 9),
]
RAND = [("apgd_ce", 1, 1, None), ("apgd_dlr", 1, 1, None)]


def outline(plan):
    """Its attacks in order, each with all of its runs, numbered."""
    rows = []
    for run in plan.runs:
        if run.number == 0:
            rows.append((run.name, run.of, run.settings.get("restarts"), run.settings.get("targets")))
        assert (run.name, run.of) == rows[-1][:2]
    assert [run.number for run in plan.runs] == [i for row in rows for i in range(row[1])]
    return rows


@pytest.mark.parametrize(
    ("version", "norm", "rows"),
    [
        ("standard", "linf", STANDARD),
        ("standard", "l2", STANDARD),
        ("standard", "l1", SPARSE),
        ("plus", "linf", PLUS),
        ("plus", "l2", PLUS),
        ("rand", "linf", RAND),
        ("rand", "l2", RAND),
        ("rand", "l1", RAND),
    ],
)
def test_versions(version, norm, rows):
    plan = plan_auto_attack(version, norm, 10)
    assert outline(plan) == rows
    assert (plan.version, plan.eot) == (version, 20 if version == "rand" else 1)
    for run in plan.runs:
        assert run.settings.get("eot", plan.eot) == plan.eot
        if run.name != "square":
            assert run.settings["steps"] == 100
    assert outline(plan_auto_attack(version, norm, 100)) == rows


@pytest.mark.parametrize(
    ("version", "norm", "classes", "name", "rows"),
    [
        ("standard", "linf", 5, "standard", [("apgd_ce", 1), ("apgd_t", 4), ("fab_t", 4), ("square", 4)]),
        ("standard", "l1", 5, "standard", [("apgd_ce", 5), ("apgd_t", 4), ("fab_t", 4), ("square", 4)]),
        ("standard", "l2", 4, "standard", [("apgd_ce", 1), ("apgd_t", 3), ("fab_t", 3), ("square", 4)]),
        (
            "standard", "linf", 3, "standard (K=3: apgd_t → apgd_dlr)",
            [("apgd_ce", 1), ("apgd_dlr", 1), ("fab_t", 2), ("square", 4)],
        ),
        (
            "standard", "l1", 2, "standard (K=2: apgd_t → apgd_margin)",
            [("apgd_ce", 5), ("apgd_margin", 1), ("fab_t", 1), ("square", 4)],
        ),
        (
            "plus", "linf", 3, "plus (K=3: apgd_t → apgd_dlr)",
            [("apgd_ce", 5), ("apgd_dlr", 5), ("fab", 1), ("square", 4), ("fab_t", 2)],
        ),
        (
            "plus", "l2", 2, "plus (K=2: apgd_dlr → apgd_margin, apgd_t → apgd_margin)",
            [("apgd_ce", 5), ("apgd_margin", 5), ("fab", 1), ("square", 4), ("fab_t", 1)],
        ),
        ("rand", "linf", 3, "rand", [("apgd_ce", 1), ("apgd_dlr", 1)]),
        ("rand", "l2", 2, "rand (K=2: apgd_dlr → apgd_margin)", [("apgd_ce", 1), ("apgd_margin", 1)]),
    ],
)  # fmt: skip
def test_few_classes(version, norm, classes, name, rows):
    plan = plan_auto_attack(version, norm, classes)
    assert plan.version == name
    assert [row[:2] for row in outline(plan)] == rows


@pytest.mark.parametrize(
    ("version", "norm", "classes", "words"),
    [
        ("custom", "linf", 10, "no AutoAttack version 'custom' in norm 'linf'; there are: standard in linf"),
        ("plus", "l1", 10, "no AutoAttack version 'plus' in norm 'l1'"),
        ("standard", "l7", 10, "in norm 'l7'"),
        ("standard", "linf", 1, "K=1 class cannot be fooled"),
    ],
)
def test_refused_plans(version, norm, classes, words):
    with pytest.raises(ValueError, match=words):
        plan_auto_attack(version, norm, classes)


# --- Ensembles of attacks whose outcome is known ------------------------------------------------------------

# One number says all about an image: label 0 up to 0.5, else label 1, which then leads by twice the difference.
LEVELS = np.array([0.45, 0.35, 0.25, 0.15, 0.05, 0.55, 0.42, 0.32, 0.22])


def grey(levels):
    return np.broadcast_to(np.asarray(levels, np.float32)[:, None, None, None], (len(levels), 1, 2, 1)).copy()


def threshold(images):
    level = images.mean((1, 2, 3))
    return jnp.stack([0.5 - level, level - 0.5], axis=1)


def brightening(amount, *, lies=False, watch=None):
    """An attack that adds `amount`, looking at three images; one that lies claims a success everywhere."""

    def program(logits_fn, images, labels, keys, settings, carry):
        if watch is not None:
            jax.debug.callback(lambda seen: watch.append(np.array(seen)), images[:, 0, 0, 0], ordered=True)
        moved = images + amount
        fooled = (jnp.argmax(logits_fn(moved), axis=1) != labels) | lies
        points = jnp.where(fooled[:, None, None, None], moved, images)
        nothing = jnp.zeros(len(images))
        carry = images.sum((1, 2, 3)) if carry is None else carry
        return AttackResult(points, fooled, nothing, jnp.full(len(images), 3), fooled), carry

    return program


def remembering(logits_fn, images, labels, keys, settings, carry):
    """Succeeds if its carry belongs to the images it is given."""
    mine = jnp.abs(carry - images.sum((1, 2, 3))) < 1e-6
    points = jnp.where(mine[:, None, None, None], 0 * images + 0.9, images)
    return AttackResult(points, mine, carry, jnp.full(len(images), 5), mine), carry


def run_stubs(monkeypatch, stubs, levels=LEVELS, continues=(), eot=1, model=threshold, **more):
    attack = Attack("stub", "Stub", "stub")
    stubs = [AttackRun(attack, i, len(stubs), program, 1, i in continues) for i, program in enumerate(stubs)]
    monkeypatch.setattr(module, "plan_auto_attack", lambda *_: Plan("stubs", tuple(stubs), eot))
    images = grey(levels)
    inputs = {"labels": np.zeros(len(images), np.int32), "epsilon": 0.5, "key": KEY}
    return jax.device_get(auto_attack(model, images, **inputs | more))


def test_the_first_attack_to_fool_counts(monkeypatch):
    """Examples that fell, or never stood, are shown to nothing any more; what only claims to fool does not count."""
    stubs = [brightening(0.1), brightening(0.2), brightening(0.0, lies=True), brightening(0.3)]
    result = run_stubs(monkeypatch, stubs)
    #                        0.45  0.35  0.25  0.15   0.05   wrong 0.42  0.32  0.22
    moved = np.array(        [0.1, 0.2,  0.3,  0.0,   0.0,   0.0,  0.1,  0.2,  0.3])  # fmt: skip
    success = np.array(      [1,   1,    1,    0,     0,     1,    1,    1,    1], bool)  # fmt: skip
    queries = np.array(      [3,   6,    12,   12,    12,    0,    3,    6,    12])  # fmt: skip
    np.testing.assert_array_equal(result.success, success)
    np.testing.assert_array_equal(result.last_success, success)
    np.testing.assert_array_equal(result.queries, queries)
    np.testing.assert_allclose(result.images, grey(LEVELS + moved), atol=1e-6)
    np.testing.assert_array_equal(result.images[moved == 0], grey(LEVELS)[moved == 0])
    np.testing.assert_allclose(result.loss, 2 * (LEVELS + moved - 0.5), atol=1e-6)
    assert (result.images.dtype, result.loss.dtype, result.queries.dtype) == (np.float32, np.float32, np.int32)


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [
        (100, [[9], [9], [3], [1]]),  # of nine examples 9, 3 or 1 at a time
        (4, [[4, 4], [4, 1], [4], [1]]),
    ],
)
def test_batches(monkeypatch, batch_size, expected):
    """No larger than needed, and filled up with copies of the first example."""
    amounts, seen = (0.16, 0.29, 0.36, 0.4), [[], [], [], []]
    stubs = [brightening(amount, watch=watch) for amount, watch in zip(amounts, seen, strict=True)]
    result = run_stubs(monkeypatch, stubs, batch_size=batch_size)
    jax.effects_barrier()
    assert [[len(batch) for batch in watched] for watched in seen] == expected
    standing = [
        [0.45, 0.35, 0.25, 0.15, 0.05, 0.42, 0.32, 0.22],  # all but the one that is wrong already
        [0.25, 0.15, 0.05, 0.32, 0.22],
        [0.15, 0.05],
        [0.05],
    ]
    for watched, levels in zip(seen, standing, strict=True):
        batches = np.split(np.float32(levels), range(batch_size, len(levels), batch_size))
        for batch, shown in zip(batches, watched, strict=True):
            filled = np.append(batch, np.repeat(batch[0], len(shown) - len(batch)))
            np.testing.assert_allclose(shown, filled, atol=1e-6)
    np.testing.assert_array_equal(result.queries, [3, 3, 6, 9, 12, 0, 3, 6, 6])


@pytest.mark.parametrize("batch_size", [100, 4])
def test_carries_follow_their_examples(monkeypatch, batch_size):
    stubs = [brightening(0.1), brightening(0.2), remembering]
    result = run_stubs(monkeypatch, stubs, continues=(1, 2), batch_size=batch_size)
    assert result.success.all()
    np.testing.assert_array_equal(result.queries, [3, 6, 11, 11, 11, 0, 3, 6, 11])


def test_no_query_where_all_are_wrong_already(monkeypatch):
    def never(*_):
        pytest.fail("nobody stands")

    result = run_stubs(monkeypatch, [never, never], levels=[0.6, 0.9])
    assert result.success.all() and result.last_success.all()
    np.testing.assert_array_equal(result.queries, 0)
    np.testing.assert_array_equal(result.images, grey([0.6, 0.9]))
    np.testing.assert_allclose(result.loss, [0.2, 0.8], atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 16, 17])
def test_any_number_of_examples(monkeypatch, count):
    levels = np.linspace(0.05, 0.55, count)
    result = run_stubs(monkeypatch, [brightening(0.1), brightening(0.2)], levels=levels)
    np.testing.assert_array_equal(result.success, levels.astype(np.float32) > 0.3)
    np.testing.assert_array_equal(result.queries, np.select([levels > 0.5, levels > 0.4], [0, 3], 6))


def test_keys_belong_to_examples(monkeypatch):
    """One key is folded with positions; given keys move with their examples. Attacks draw from different ones."""
    drawn = []

    def drawing(logits_fn, images, labels, keys, settings, carry):
        data = jax.random.key_data(keys)
        jax.debug.callback(lambda *pair: drawn.append([np.array(side) for side in pair]), images[:, 0, 0, 0], data)
        return AttackResult(images, labels < 0, labels + 0.0, labels, labels < 0), None

    def keys_of(levels, key):
        drawn.clear()
        run_stubs(monkeypatch, [drawing], levels=levels, key=key)
        jax.effects_barrier()
        ((found, data),) = drawn
        return {float(level): tuple(row.tolist()) for level, row in zip(found, data, strict=True)}

    one = keys_of(LEVELS, KEY)
    keys = per_example_keys(KEY, len(LEVELS))
    assert one == keys_of(LEVELS, keys) and len(set(one.values())) == 8
    order = np.array([7, 2, 5, 0])
    some = keys_of(LEVELS[order], keys[order])
    assert len(some) == 3 and some.items() <= one.items()
    assert keys_of(LEVELS, jax.random.key(8)).items().isdisjoint(one.items())


def test_a_lucky_draw_is_no_success(monkeypatch):
    """An attack claims whatever errs on one of thirty draws; counted is what errs on half of fresh ones."""

    def model(images, key):
        return threshold(images + jnp.where(jax.random.bernoulli(key, 0.25), 0.3, -0.05))

    claims = {}

    def lucky(logits_fn, images, labels, keys, settings, carry):
        draws = jax.vmap(lambda number: logits_fn(images, jax.random.fold_in(keys[0], number)))(jnp.arange(30))
        fooled = (jnp.argmax(draws, axis=2) != labels[None]).any(0)
        jax.debug.callback(
            lambda level, claim: claims.update({float(level): bool(claim)}), images[0, 0, 0, 0], fooled[0]
        )
        return AttackResult(images, fooled, labels + 0.0, labels + 3, fooled), None

    levels = {0.3: True, 0.54: True, 0.6: None, 0.1: False}  # 0.6 errs on all draws, 0.1 on none, others on a quarter
    for level, claim in levels.items():
        result = run_stubs(monkeypatch, [lucky], levels=[level], eot=20, model=model, version="rand")
        jax.effects_barrier()
        assert claims.get(float(np.float32(level))) == claim
        assert (bool(result.success[0]), int(result.queries[0])) == ((True, 0) if claim is None else (False, 3))


# --- The attacks themselves ---------------------------------------------------------------------------------

SHAPE, CLASSES, COUNT = (2, 3, 2), 5, 8
EPSILON = 0.1
_rng = np.random.default_rng(0)
HIDDEN = _rng.normal(0, 1.0, (12, 10)).astype(np.float32)
OUT = _rng.normal(0, 1.5, (10, CLASSES)).astype(np.float32)
IMAGES = _rng.uniform(0, 1, (COUNT, *SHAPE)).astype(np.float32)


def network(images):
    """Lets no gradient through where the second pixel is bright, in half of the images."""
    hidden = (images - 0.5).reshape(len(images), -1)
    hidden = jnp.where(hidden[:, 1:2] > 0, lax.stop_gradient(hidden), hidden)
    return jnp.tanh(hidden @ HIDDEN) @ OUT


LABELS = np.asarray(network(IMAGES)).argmax(1).astype(np.int32)
LABELS[3] = (LABELS[3] + 1) % CLASSES  # wrong from the start


@pytest.fixture(scope="module")
def attacked():
    return jax.device_get(auto_attack(network, IMAGES, LABELS, epsilon=EPSILON, key=KEY))


def alone(name):
    """Success of one attack on all examples, with the keys it has in the ensemble."""
    keys, carry, fooled = per_example_keys(KEY, COUNT), None, np.arange(COUNT) == 3
    for run in runs_of(name, "linf", CLASSES):
        program = direct.compiled(run.program, network)  # one of the ensemble's
        result, carry = program(IMAGES, LABELS, folded(keys, run.key_number), run.at(EPSILON), carry)
        fooled = fooled | np.asarray(result.success)
    return fooled


def test_worst_case(attacked):
    """Success is the union of what each attack achieves by itself."""
    found = {name: alone(name) for name in ("apgd_ce", "apgd_t", "fab_t", "square")}
    np.testing.assert_array_equal(attacked.success, np.any(list(found.values()), axis=0))
    # Some fall to gradients, one only to the search that needs none, and some stand.
    blind = found["square"] & ~(found["apgd_ce"] | found["apgd_t"] | found["fab_t"])
    assert found["apgd_ce"].sum() > 2 and blind.any() and not attacked.success.all()
    # APGD costs 101 images a run, FAB 200, Square at most 41: for those who stand, with 4 targets each.
    before_square = 101 + 4 * 101 + 4 * 200
    np.testing.assert_array_equal(attacked.queries[~attacked.success], before_square + 41)
    assert np.all((attacked.queries[blind] > before_square) & (attacked.queries[blind] <= before_square + 41))
    np.testing.assert_array_equal(np.delete(attacked.queries, 3)[np.delete(found["apgd_ce"], 3)], 101)
    assert attacked.queries[3] == 0


def test_result_keeps_its_promises(attacked):
    success, images = attacked.success, attacked.images
    logits = np.asarray(network(images))
    np.testing.assert_array_equal(logits.argmax(1) != LABELS, success)
    np.testing.assert_array_equal(images[~success], IMAGES[~success])
    np.testing.assert_array_equal(images[3], IMAGES[3])
    assert np.max(distance(images - IMAGES, "linf")) <= EPSILON + 1e-6
    assert images.min() >= 0 and images.max() <= 1
    own = logits[np.arange(COUNT), LABELS]
    rival = np.where(np.arange(CLASSES) == LABELS[:, None], -np.inf, logits).max(1)
    np.testing.assert_allclose(attacked.loss, rival - own, atol=1e-5)


def test_same_bits_again(attacked):
    again = auto_attack(network, jnp.asarray(IMAGES), LABELS.astype(np.int64), epsilon=f"{255 * EPSILON}/255", key=KEY)
    chex.assert_trees_all_equal(jax.device_get(again), attacked)


def test_neighbours_do_not_matter(attacked):
    """Given the keys, the same outcome in another order and among strangers; in another batch up to rounding."""
    keys = per_example_keys(KEY, COUNT)
    backwards = auto_attack(network, IMAGES[::-1], LABELS[::-1], epsilon=EPSILON, key=keys[::-1])
    np.testing.assert_array_equal(backwards.success[::-1], attacked.success)
    np.testing.assert_array_equal(backwards.queries[::-1], attacked.queries)
    np.testing.assert_allclose(backwards.loss[::-1], attacked.loss, atol=1e-4)
    strangers, labels = 1 - IMAGES, np.asarray(network(1 - IMAGES)).argmax(1).astype(np.int32)
    rows = np.array([0, 5])
    strangers[rows], labels[rows] = IMAGES[rows], LABELS[rows]
    mixed = auto_attack(network, strangers, labels, epsilon=EPSILON, key=keys)
    np.testing.assert_array_equal(mixed.success[rows], attacked.success[rows])
    np.testing.assert_array_equal(mixed.queries[rows], attacked.queries[rows])


def linear_examples(classes, shape, count, norm):
    """A linear model, images far from the box, and for a radius the best lead of a wrong class, exactly."""
    rng = np.random.default_rng(classes)
    weights = rng.normal(0, 1, (int(np.prod(shape)), classes)).astype(np.float32)
    images = rng.uniform(0.3, 0.7, (count, *shape)).astype(np.float32)

    def model(images):
        return (images - 0.5).reshape(len(images), -1) @ weights

    logits = (images.astype(np.float64) - 0.5).reshape(count, -1) @ weights
    labels = logits.argmax(1).astype(np.int32)
    reach = np.linalg.norm(weights[:, None, :] - weights[:, labels, None], DUAL[norm], axis=0)  # [count, K]
    behind = np.max(logits, axis=1, keepdims=True) - logits
    apart = np.where(behind == 0, np.inf, behind / np.maximum(reach, 1e-12)).min(1)  # distance of the boundary
    return model, images, labels, apart


@pytest.mark.parametrize(
    ("classes", "norm", "shape"),
    [(2, "linf", (1, 4, 1)), (3, "l2", (5, 6, 1)), (4, "l1", (6, 4, 1))],
)
def test_linear_models_are_solved(classes, norm, shape):
    """With any number of classes, on images that are not square: fooled where the boundary is nearer than epsilon."""
    model, images, labels, apart = linear_examples(classes, shape, 4, norm)
    order = np.sort(apart)
    epsilon = float(order[1] + order[2]) / 2
    assert order[1] < 0.98 * epsilon and order[2] > 1.02 * epsilon and epsilon < 0.3
    result = jax.device_get(auto_attack(model, images, labels, epsilon=epsilon, key=KEY, norm=norm))
    np.testing.assert_array_equal(result.success, apart < epsilon)
    assert np.max(distance(result.images - images, norm)) <= epsilon + 1e-6
    np.testing.assert_array_equal(np.asarray(model(result.images)).argmax(1) != labels, result.success)
    runs, evaluations = (5, 103) if norm == "l1" else (1, 101)
    targets = classes - 1
    ascents = runs + (targets if classes > 3 else 1)
    np.testing.assert_array_equal(result.queries[~result.success], evaluations * ascents + 200 * targets + 41)


def test_a_random_model():
    """Two classes that tie on average at a level of 0.5: fooled where epsilon reaches beyond, whatever one draw says.

    Noise makes a draw in five err at a distance of 0.1, on which no verdict may rest.
    """
    levels = np.array([0.42, 0.25, 0.40, 0.22, 0.60])
    images = np.broadcast_to(levels[:, None, None, None], (5, *SHAPE)).astype(np.float32)
    labels = np.zeros(5, np.int32)

    def model(images, key):
        noise = 0.12 * jax.random.normal(key, (len(images), 1, 1, 1))
        return 10 * threshold(images + noise)

    def errors(images):
        draws = jax.vmap(lambda key: model(images, key))(jax.random.split(jax.random.key(99), 400))
        return np.mean(np.asarray(draws).argmax(2) != labels, axis=0)

    result = jax.device_get(auto_attack(model, images, labels, epsilon=0.15, key=KEY, version="rand"))
    np.testing.assert_array_equal(result.success, [True, False, True, False, True])
    np.testing.assert_array_equal(errors(result.images) > 0.5, result.success)
    standing = np.array([1, 3])
    assert np.all(errors(np.clip(images + 0.15, 0, 1))[standing] > 0.1)  # a single draw would have fooled
    np.testing.assert_array_equal(result.images[[1, 3, 4]], images[[1, 3, 4]])
    np.testing.assert_array_equal(result.queries[[1, 3, 4]], [2 * 20 * 101, 2 * 20 * 101, 0])


# --- Edges --------------------------------------------------------------------------------------------------


def test_no_images():
    for norm in DUAL:
        result = auto_attack(network, IMAGES[:0], LABELS[:0], epsilon="8/255", key=KEY, norm=norm)
        chex.assert_shape([result.success, result.loss, result.queries, result.last_success], (0,))
        chex.assert_shape(result.images, (0, *SHAPE))


def test_refused_while_tracing():
    attack = partial(auto_attack, network, epsilon=0.1, key=KEY)
    for transform in (jax.jit, lambda call: jax.vmap(lambda images: call(images))):
        with pytest.raises(ValueError, match="outside jit, vmap and pmap"):
            transform(lambda images: attack(images, LABELS))(IMAGES if transform is jax.jit else IMAGES[None])
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(lambda epsilon: auto_attack(network, IMAGES, LABELS, epsilon=epsilon, key=KEY))(0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "best"}, "no AutoAttack version 'best'"),
        ({"norm": "l7"}, "in norm 'l7'"),
        ({"version": "plus", "norm": "l1"}, "no AutoAttack version 'plus' in norm 'l1'"),
        ({"logits_fn": lambda images: network(images)[:, :1]}, "at least 2 classes"),
        ({"logits_fn": lambda images: network(images)[:, 0]}, r"\[N, K\] logits"),
        ({"epsilon": 8}, "'8/255' meant"),
        ({"epsilon": "eight"}, "cannot read 'eight'"),
        ({"images": 2 * IMAGES}, r"lie in \[0, 1\]"),
        ({"images": np.where(IMAGES > 0.9, np.nan, IMAGES)}, "must be finite"),
        ({"images": IMAGES[0]}, r"shape \[N, H, W, C\]"),
        ({"labels": LABELS + 1}, r"lie in \[0, 5\)"),
        ({"key": 0}, "typed key.*got int"),
        ({"key": jax.random.split(KEY, 3)}, "one key or 8"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": 2.0}, "batch_size must be a whole number of at least 1, got 2.0"),
        ({"version": ["plus"]}, "no AutoAttack version"),
        *(({"epsilon": jnp.float32(value)}, "meant|finite") for value in (8, np.nan, -0.03)),
    ],
)
def test_refusals(change, words):
    inputs = {"logits_fn": network, "images": IMAGES, "labels": LABELS, "epsilon": 0.1, "key": KEY}
    with pytest.raises(ValueError, match=words):
        auto_attack(**inputs | change)
