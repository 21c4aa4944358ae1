"""Square attack: a recorded run, NumPy versions of its queries, closed forms, and what every search promises."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
from problems import KEY, linear
import pytest
from traces import load_trace

from rnas.attacks.projections import distance
from rnas.attacks.random_start import per_example_keys
from rnas.attacks.square import (
    SquareDraws,
    SquareState,
    continue_square,
    square,
    square_result,
    square_sides,
    start_square,
)
from rnas.attacks.square_perturbations import bump

NORMS = ("linf", "l2", "l1")
SHAPE = (7, 5, 3)  # taller than wide, and tiles that leave a rim
D = int(np.prod(SHAPE))
QUERIES = 120  # with the schedule stretched to them
EPSILON = {"linf": 0.08, "l2": 0.6, "l1": 3.0}

# A network with curvature, and images of which many pixels lie close to the box.
_rng = np.random.default_rng(3)
HIDDEN = _rng.normal(0, 0.5, (D, 8)).astype(np.float32)
OUT = _rng.normal(0, 1.5, (8, 4)).astype(np.float32)
IMAGES = np.clip(_rng.uniform(-0.2, 1.2, (12, *SHAPE)), 0, 1).astype(np.float32)


def logits_fn(images):
    return jnp.tanh((images - 0.5).reshape(len(images), -1) @ HIDDEN) @ OUT


LABELS = np.asarray(logits_fn(IMAGES)).argmax(1).astype(np.int32)


@pytest.fixture(scope="module")
def compiled():
    """norm → (start, block, whole, norms that a block was traced for), jitted once for all tests on the network."""
    traces = []

    def build(norm):
        schedule = {"queries": QUERIES, "rescale": True, "norm": norm}

        def start(images, labels, key, epsilon):
            return start_square(logits_fn, images, labels, epsilon=epsilon, key=key, norm=norm)

        def block(state, images, labels, key, epsilon, first, count):
            traces.append(norm)
            return continue_square(
                logits_fn, state, images, labels, epsilon=epsilon, key=key, first=first, count=count, **schedule
            )

        def whole(images, labels, key, epsilon):
            return square(logits_fn, images, labels, epsilon=epsilon, key=key, **schedule)

        return jax.jit(start), jax.jit(block), jax.jit(whole), traces

    return {norm: build(norm) for norm in NORMS}


def test_reference_trace(shared):
    trace = load_trace(shared, "e4_square_linf")
    queries = int(trace.arrays["n_queries"])
    lows, highs, drawn = trace.arrays["ints"].reshape(queries, 2, 3).transpose(2, 0, 1)
    sides = square_sides(8, 8, queries=queries)
    np.testing.assert_array_equal(highs, 8 - np.stack([sides, sides], 1))
    assert not lows.any()
    draws = SquareDraws(trace.arrays["init_signs"], drawn, trace.arrays["signs"])
    attack = partial(square, trace.logits_fn, epsilon=trace.epsilon, key=KEY, queries=queries, draws=draws)
    result = jax.jit(attack)(trace.images, trace.labels)
    np.testing.assert_array_equal(result.queries, trace.arrays["nq"])
    assert not np.any(result.success)

    run = {"epsilon": trace.epsilon, "key": KEY, "draws": draws}

    def points(images, labels):
        state = start_square(trace.logits_fn, images, labels, **run)
        return continue_square(
            trace.logits_fn, state, images, labels, first=0, count=queries, queries=queries, **run
        ).points

    np.testing.assert_allclose(jax.jit(points)(trace.images, trace.labels), trace.arrays["x_best"], atol=1e-6)


def test_sides_fall_by_the_published_schedule():
    sides = square_sides(32, 32)
    changes = np.flatnonzero(np.diff(sides)) + 1
    np.testing.assert_array_equal(changes, [11, 51, 201, 501, 1001, 2001, 4001])
    np.testing.assert_array_equal(sides[[0, *changes]], [29, 20, 14, 10, 7, 5, 4, 3])
    assert sides.shape == (5000,) and sides[-1] == round((0.8 / 128 * 1024) ** 0.5)

    stretched = square_sides(32, 32, rescale=True)  # each query stands for two of 10,000
    changes = np.flatnonzero(np.diff(stretched)) + 1
    np.testing.assert_array_equal(changes, [6, 26, 101, 251, 501, 1001, 2001, 3001, 4001])
    np.testing.assert_array_equal(stretched[[0, *changes]], [29, 20, 14, 10, 7, 5, 4, 3, 2, 1])
    np.testing.assert_array_equal(square_sides(32, 32, queries=10_000)[::2], stretched)

    np.testing.assert_array_equal(square_sides(32, 32, norm="l2")[[0, 11, 51, 201, 501, 4999]], [29, 21, 15, 11, 7, 3])
    np.testing.assert_array_equal(square_sides(3, 40)[[0, 4999]], [3, 1])
    np.testing.assert_array_equal(square_sides(40, 2, norm="l1")[[0, 4999]], [2, 2])
    np.testing.assert_array_equal(square_sides(10, 10, p_init=0.25, queries=1), [5])


def loop_bump(side, norm):
    """The formula, one pixel at a time."""
    power, length = (2, lambda v: np.sqrt((v**2).sum())) if norm == "l2" else (4, lambda v: abs(v).sum())

    def part(height):
        values = np.zeros((height, side))
        levels = max(height // 2, side // 2) + 1
        for r in range(height):
            for c in range(side):
                nearest = max(abs(r - height // 2), abs(c - side // 2))
                values[r, c] = sum(1 / (k + 1) ** power for k in range(nearest, levels))
        return values / length(values)

    parts = [part(side // 2)] if side > 1 else []
    pair = np.concatenate([*parts, -part(side - side // 2)])
    return pair / length(pair)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_bumps(norm):
    np.testing.assert_array_equal(bump(1, norm), [[-1]])
    for side in (1, 2, 3, 4, 5, 7, 8):
        values = bump(side, norm)
        np.testing.assert_allclose(values, loop_bump(side, norm), rtol=1e-6)
        assert np.all(values[: side // 2] > 0) and np.all(values[side // 2 :] < 0)


def numpy_fitted(image, move, epsilon, norm):
    if norm == "linf":
        return np.clip(image + np.clip(move, -epsilon, epsilon), 0, 1)
    if norm == "l2":
        return np.clip(image + move * epsilon / np.linalg.norm(move), 0, 1)
    room = np.where(move > 0, 1 - image, image)
    low, high = 0.0, abs(move).max()
    if np.minimum(abs(move), room).sum() <= epsilon:
        high = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        above = np.clip(abs(move) - middle, 0, room).sum() > epsilon
        low, high = (middle, high) if above else (low, middle)
    return image + np.sign(move) * np.clip(abs(move) - high, 0, room)


def numpy_start(key, image, epsilon, norm):
    """The first image; only the draws, and how they are read, are those of the attack."""
    height, width, channels = image.shape
    key = jax.random.fold_in(key, 0)
    if norm == "linf":
        signs = np.asarray(jax.random.rademacher(key, (1, width, channels), jnp.float32))
        return numpy_fitted(image, epsilon * signs.repeat(height, 0), epsilon, norm)
    side = height // 5
    rim = (height - 5 * side) // 2
    draws = np.asarray(jax.random.uniform(key, (height // side, width // side, channels + 1)))
    move = np.zeros_like(image)
    for r, c, channel in np.ndindex(image.shape):
        tile = ((r - rim) // side, (c - rim) // side)
        if r < rim or c < rim or tile[0] >= height // side or tile[1] >= width // side:
            continue
        pair = loop_bump(side, norm) if draws[*tile, channels] < 0.5 else loop_bump(side, norm).T
        sign = -1 if draws[*tile, channel] < 0.5 else 1
        move[r, c, channel] = sign * pair[(r - rim) % side, (c - rim) % side]
    return numpy_fitted(image, move, epsilon, norm)


def numpy_query(key, query, side, image, point, epsilon, norm):
    height, width, channels = image.shape
    draws = np.asarray(
        jax.random.uniform(jax.random.fold_in(key, query + 1), (channels + (2 if norm == "linf" else 5),))
    )
    signs = np.where(draws[-channels:] < 0.5, -1, 1)

    def window(draws):
        r, c = int(draws[0] * (height - side)), int(draws[1] * (width - side))
        return slice(r, r + side), slice(c, c + side)

    first = window(draws[:2])
    move = point - image
    if norm == "linf":
        move[first] += 2 * epsilon * signs
        return numpy_fitted(image, move, epsilon, norm)
    order = {"l2": 2, "l1": 1}[norm]
    second = window(draws[2:4])
    pair = loop_bump(side, norm) if draws[4] < 0.5 else loop_bump(side, norm).T
    both = np.zeros((height, width), bool)
    both[first] = both[second] = True
    left = max(epsilon**order - np.linalg.norm(move.ravel(), order) ** order, 0)
    new = np.zeros((side, side, channels))
    for c in range(channels):
        window_length = np.linalg.norm(move[first][..., c].ravel(), order)
        new[..., c] = pair * signs[c] + move[first][..., c] / (window_length + 1e-12)
        budget = (left / channels + np.linalg.norm(move[both][:, c], order) ** order) ** (1 / order)
        new[..., c] *= budget * (channels if norm == "l1" else 1) / np.linalg.norm(new[..., c].ravel(), order)
    move[second] = 0
    move[first] = new
    return numpy_fitted(image, move, epsilon, norm)


@pytest.mark.parametrize("norm", NORMS)
def test_queries_equal_the_numpy_version(compiled, norm):
    """Start and queries of several sizes; a loss forgotten before each makes every query count."""
    start, block, *_ = compiled[norm]
    epsilon, few = EPSILON[norm], 3
    keys = per_example_keys(KEY, len(IMAGES))
    state = start(IMAGES, LABELS, KEY, epsilon)
    clean = IMAGES.astype(np.float64)
    expected = np.stack([numpy_start(keys[n], clean[n], epsilon, norm) for n in range(few)])
    np.testing.assert_allclose(state.points[:few], expected, atol=2e-6)

    sides = square_sides(*SHAPE[:2], queries=QUERIES, norm=norm, rescale=True)
    for query in (0, 1, 4, 9, 30, QUERIES - 1):
        state = state._replace(loss=np.full(len(IMAGES), -np.inf, np.float32))
        before = np.asarray(state.points, np.float64)
        state = block(state, IMAGES, LABELS, KEY, epsilon, query, 1)
        for n in range(few):
            expected = numpy_query(keys[n], query, sides[query], clean[n], before[n], epsilon, norm)
            np.testing.assert_allclose(state.points[n], expected, atol=5e-6)
    assert len(set(sides[[0, 4, 9, 30]])) >= (3 if norm == "linf" else 2)


@pytest.mark.parametrize("norm", NORMS)
def test_what_every_search_promises(compiled, norm):
    start, block, whole, traces = compiled[norm]
    epsilon = EPSILON[norm]
    state = start(IMAGES, LABELS, KEY, epsilon)
    np.testing.assert_array_equal(state.queries, 1)
    for first in range(0, QUERIES, 20):
        earlier, state = state, block(state, IMAGES, LABELS, KEY, epsilon, first, 20)
        assert np.all(state.loss >= earlier.loss)
        done = np.asarray(earlier.loss) >= 0
        chex.assert_trees_all_equal(*(jax.tree.map(lambda field, done=done: field[done], s) for s in (earlier, state)))
        assert np.all(np.asarray(state.queries - earlier.queries)[np.asarray(state.loss) < 0] == 20)
        assert np.all(distance(state.points - IMAGES, norm) <= epsilon * (1 + 1e-6) + 1e-7)
        assert state.points.min() >= 0 and state.points.max() <= 1
    result = square_result(state, IMAGES)

    logits = np.asarray(logits_fn(state.points))
    own = np.take_along_axis(logits, LABELS[:, None], 1)[:, 0]
    rival = np.where(np.arange(4) == LABELS[:, None], -np.inf, logits).max(1)
    np.testing.assert_allclose(result.loss, rival - own, atol=1e-5)
    np.testing.assert_array_equal(result.success, logits.argmax(1) != LABELS)
    np.testing.assert_array_equal(result.last_success, result.success)
    success = np.asarray(result.success)
    assert 0 < success.sum() < len(success)
    np.testing.assert_array_equal(result.images[~success], IMAGES[~success])
    np.testing.assert_array_equal(result.images[success], state.points[success])
    assert np.all(result.queries[~success] == QUERIES + 1) and np.all(result.queries[success] <= QUERIES + 1)

    # The blocks above were one search: the same bits.
    chex.assert_trees_all_equal(result, whole(IMAGES, LABELS, KEY, epsilon))
    uneven = start(IMAGES, LABELS, KEY, epsilon)
    for first, count in ((0, 1), (1, 46), (47, 0), (47, 10_000)):
        uneven = block(uneven, IMAGES, LABELS, KEY, epsilon, first, count)
    chex.assert_trees_all_equal(uneven, state)
    assert traces.count(norm) == 1  # one compilation for blocks of all sizes


@pytest.mark.parametrize("norm", NORMS)
def test_neighbours_do_not_matter(compiled, norm):
    start, block, whole, _ = compiled[norm]
    epsilon = EPSILON[norm]
    full = whole(IMAGES, LABELS, KEY, epsilon)
    strangers = 1 - IMAGES
    strangers[[2, 5]] = IMAGES[[2, 5]]
    mixed = whole(strangers, LABELS, KEY, epsilon)
    for field, other in zip(full, mixed, strict=True):
        np.testing.assert_array_equal(field[np.array([2, 5])], other[np.array([2, 5])])
    assert np.any(full.loss != whole(IMAGES, LABELS, jax.random.key(8), epsilon).loss)

    # Solved rows dropped between blocks, each remaining one with its own key.
    keys = per_example_keys(KEY, len(IMAGES))
    state = block(start(IMAGES, LABELS, KEY, epsilon), IMAGES, LABELS, KEY, epsilon, 0, 40)
    rows = np.flatnonzero(state.loss < 0)
    assert 0 < len(rows) < len(IMAGES)
    rest = jax.tree.map(lambda field: field[rows], state)
    rest = block(rest, IMAGES[rows], LABELS[rows], keys[rows], epsilon, 40, QUERIES)
    expected = jax.tree.map(lambda field: field[rows], full)
    chex.assert_trees_all_close(square_result(rest, IMAGES[rows]), expected, atol=1e-5)


def linear_case(classes, shape, count=40):
    """Linear models whose last row and column of pixels, which squares hardly reach, count for nothing."""
    rng = np.random.default_rng(classes)
    weights = rng.normal(0, 1, (count, *shape, classes))
    weights[:, -1] = weights[:, :, -1] = 0
    weights = weights.reshape(count, -1, classes).astype(np.float32)
    images = rng.uniform(0.4, 0.6, (count, 2, *shape)).astype(np.float32)
    logits = np.einsum("pnd,pdk->pnk", images.reshape(count, 2, -1), weights).astype(np.float64)
    labels = logits.argmax(-1)
    reach = weights[:, :, None, :] - np.take_along_axis(weights, labels[:, None, :], 2)[..., None]  # [P, D, N, K]
    gaps = logits - np.take_along_axis(logits, labels[..., None], 2)

    def leads(epsilon, norm):
        """What the best image of the ball reaches, as the box is further away: [P, N]."""
        lead = gaps + epsilon * np.linalg.norm(reach, {"linf": 1, "l2": 2, "l1": np.inf}[norm], axis=1)
        np.put_along_axis(lead, labels[..., None], -np.inf, 2)
        return lead.max(-1)

    def attacked(epsilon, norm, queries):
        def one(weights, images, labels):
            return square(
                partial(linear, weights), images, labels, epsilon=epsilon, key=KEY, norm=norm, queries=queries
            )

        return jax.jit(jax.vmap(one))(weights, images, labels.astype(np.int32))

    return leads, attacked


def test_two_linear_classes_exactly():
    """Single pixels from query 201 on: greedy search ends at the corner of the ball, unless stopped by success."""
    leads, attacked = linear_case(classes=2, shape=(4, 4, 1))
    lead, result = leads(0.08, "linf"), attacked(0.08, "linf", 500)
    clear = abs(lead) > 1e-4
    np.testing.assert_array_equal(np.asarray(result.success)[clear], lead[clear] > 0)
    np.testing.assert_allclose(result.loss[lead < 0], lead[lead < 0], atol=1e-5)
    assert 0.2 < np.mean(lead > 0) < 0.8


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.05), ("l2", 0.25), ("l1", 0.35)])
def test_no_better_than_the_closed_form(norm, epsilon):
    leads, attacked = linear_case(classes=4, shape=(5, 6, 2))
    lead, result = leads(epsilon, norm), attacked(epsilon, norm, 300)
    assert np.all(np.asarray(result.loss) <= lead + 1e-4)
    easy = leads(0.5 * epsilon, norm) > 0
    assert np.asarray(result.success)[easy].mean() > 0.9
    assert 0.1 < np.mean(lead > 0) < 0.9


def test_fools_where_gradients_are_zero():
    def quantised(images):
        return logits_fn(jnp.round(4 * images) / 4)

    labels = np.asarray(quantised(IMAGES)).argmax(1).astype(np.int32)
    gradient = jax.grad(lambda images: quantised(images)[:, 0].sum())(IMAGES)
    assert not np.any(gradient)
    result = jax.jit(partial(square, quantised, epsilon=0.1, key=KEY, queries=200))(IMAGES, labels)
    success = np.asarray(result.success)
    assert success.sum() >= 3
    np.testing.assert_array_equal(np.asarray(quantised(result.images)).argmax(1) != labels, success)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_radius_is_the_clean_prediction(compiled, norm):
    labels = LABELS.copy()
    labels[:4] = (labels[:4] + 1) % 4
    result = compiled[norm][2](IMAGES, labels, KEY, 0.0)
    wrong = np.arange(len(labels)) < 4
    np.testing.assert_array_equal(result.success, wrong)
    np.testing.assert_array_equal(result.images, IMAGES)
    np.testing.assert_array_equal(result.queries, np.where(wrong, 1, QUERIES + 1))


def test_a_search_without_work_stops():
    """The model runs once if all starts fool it; else until the last example is solved."""
    shown = []

    def counted(images):
        jax.debug.callback(lambda: shown.append(1))
        return logits_fn(images)

    run = jax.jit(partial(square, counted, epsilon=0.08, key=KEY, queries=40))
    for labels in ((LABELS + 1) % 4, LABELS):
        shown.clear()
        result = jax.block_until_ready(run(IMAGES, labels))
        jax.effects_barrier()
        assert len(shown) == int(result.queries.max())
    assert int(result.queries.max()) == 41


def flat(value, images):
    return jnp.full((len(images), 3), value) + 0 * images.sum((1, 2, 3))[:, None]


def test_ties_end_the_search_and_the_prediction_decides():
    labels = np.array([0, 1, 2], np.int32)
    result = square(partial(flat, 0.5), IMAGES[:3], labels, epsilon=0.1, key=KEY, queries=5)
    np.testing.assert_array_equal(result.queries, 1)
    np.testing.assert_array_equal(result.success, [False, True, True])
    np.testing.assert_array_equal(result.images[0], IMAGES[0])


def test_logits_that_are_no_numbers_are_wrong_and_end_the_search():
    result = square(partial(flat, np.nan), IMAGES[:3], 0 * LABELS[:3], epsilon=0.1, key=KEY, queries=5)
    np.testing.assert_array_equal(result.queries, 1)
    np.testing.assert_array_equal(result.success, True)
    np.testing.assert_array_equal(result.loss, np.inf)


@pytest.mark.parametrize(
    ("norm", "shape"), [("linf", (1, 6, 1)), ("linf", (1, 1, 2)), ("l2", (5, 1, 1)), ("l1", (6, 2, 3))]
)
def test_tiny_images_and_two_classes(norm, shape):
    images = np.full((4, *shape), 0.5, np.float32)

    middle = shape[1] // 2

    def model(images):  # wrong once one pixel has risen by 0.05
        return jnp.stack([jnp.zeros(len(images)), images[:, 0, middle, 0] - 0.55], axis=1)

    attack = partial(square, model, epsilon=0.3, key=KEY, norm=norm, queries=60)
    result = jax.jit(attack)(images, np.zeros(4, np.int32))
    np.testing.assert_array_equal(result.success, result.images[:, 0, middle, 0] > 0.55)
    assert np.mean(result.success) >= 0.5
    assert np.all(distance(result.images - images, norm) <= 0.3 * (1 + 1e-6))


@pytest.mark.parametrize("norm", NORMS)
def test_no_images(norm):
    result = square(logits_fn, IMAGES[:0], LABELS[:0], epsilon="8/255", key=KEY, norm=norm)
    chex.assert_shape([result.success, result.loss, result.queries, result.last_success], (0,))
    chex.assert_shape(result.images, (0, *SHAPE))


def test_no_gradient_flows():
    def everything(out, images, epsilon):
        result = square(lambda points: logits_fn(points) @ out, images, LABELS, epsilon=epsilon, key=KEY, queries=3)
        return result.loss.sum() + result.images.sum()

    gradients = jax.jit(jax.grad(everything, argnums=(0, 1, 2)))(jnp.eye(4), IMAGES, 0.1)
    for gradient in jax.tree.leaves(gradients):
        assert not np.any(gradient)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"norm": "l7"}, "unknown norm 'l7'; expected one of linf, l2, l1"),
        (
            {"norm": "l2", "images": IMAGES[:, :4], "labels": 0 * LABELS, "logits_fn": partial(flat, 0.0)},
            "at least 5 rows",
        ),
        (
            {"norm": "l1", "images": IMAGES[:, :1], "labels": 0 * LABELS, "logits_fn": partial(flat, 0.0)},
            "at least 5 rows",
        ),
        ({"norm": "l2", "draws": SquareDraws(1, 2, 3)}, "norm='linf' only"),
        ({"epsilon": "eight"}, "cannot read 'eight'"),
        ({"epsilon": 8}, "'8/255' meant"),
        ({"norm": "l1", "epsilon": -1}, "at least 0"),
        ({"p_init": "0.8"}, "p_init must be a finite number"),
        ({"queries": 5.0}, "queries must be a whole number"),
        ({"queries": 0}, "queries must be a whole number of at least 1, got 0"),
        ({"p_init": 80}, r"in \(0, 1\]; got 80"),
        ({"key": 0}, "typed key"),
        ({"images": (255 * IMAGES).astype(np.uint8)}, "images / 255"),
        ({"labels": np.eye(4, dtype=np.int32)[LABELS]}, "argmax"),
        ({"logits_fn": lambda images: logits_fn(images)[:, 0]}, r"must return \[N, K\] logits .* gave shape \(1,\)"),
        ({"logits_fn": lambda images: logits_fn(images)[:, :1]}, "num_classes=1"),
    ],
)
def test_refusals(change, words):
    inputs = {"logits_fn": logits_fn, "images": IMAGES, "labels": LABELS}
    with pytest.raises(ValueError, match=words):
        square(**inputs | {"epsilon": 0.1, "key": KEY, "queries": 2} | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"first": -1}, "first must be a whole number"),
        ({"count": 1.5}, "count must be a whole number"),
        ({"images": IMAGES[1:], "labels": LABELS[1:]}, r"same rows; got \(12, 7, 5, 3\) and \(11, 7, 5, 3\)"),
    ],
)
def test_refused_blocks(change, words):
    rows = len(IMAGES)
    state = SquareState(IMAGES, -np.ones(rows, np.float32), np.zeros(rows, bool), np.ones(rows, np.int32))
    run = {"images": IMAGES, "labels": LABELS, "epsilon": 0.1, "key": KEY, "first": 0, "count": 1}
    with pytest.raises(ValueError, match=words):
        continue_square(logits_fn, state, **run | change)
