"""Auto-PGD: recorded reference runs, closed forms on linear models, a NumPy version in L1, and its promises."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
from problems import KEY, RADII, attack_all, largest_margins, linear_problems
import pytest
from traces import load_trace

from rnas.attacks import cross_entropy
from rnas.attacks.apgd import apgd, ascend, checkpoints, plan, sparse_direction
from rnas.attacks.projections import distance, project_l1
from rnas.attacks.random_start import per_example_keys

NORMS = ("linf", "l2", "l1")

# A network with curvature: tanh layer, five classes.
SHAPE, D, CLASSES = (4, 3, 3), 36, 5
_rng = np.random.default_rng(3)
WEIGHTS = {
    "hidden": _rng.normal(0, 0.8, (D, 10)).astype(np.float32),
    "bias": _rng.normal(0, 0.3, 10).astype(np.float32),
    "out": _rng.normal(0, 1.5, (10, CLASSES)).astype(np.float32),
}
IMAGES = _rng.uniform(0, 1, (9, *SHAPE)).astype(np.float32)
EPSILON = {"linf": 0.04, "l2": 0.18, "l1": 0.6}  # where some, but not all, examples fall


def network(weights, images):
    hidden = jnp.tanh(images.reshape(len(images), -1) @ weights["hidden"] + weights["bias"][None])
    return hidden @ weights["out"]


logits_fn = partial(network, WEIGHTS)
LABELS = np.asarray(logits_fn(IMAGES)).argmax(1).astype(np.int32)


def recorded(attack, model, *inputs, **traced):
    """Runs `attack(model, *inputs, **traced)` jitted; returns its result and all the model saw, in order."""
    points = []

    def observed(images):
        jax.debug.callback(lambda seen: points.append(np.array(seen)), images, ordered=True)
        return model(images)

    result = jax.jit(partial(attack, observed))(*inputs, **traced)
    jax.effects_barrier()
    return result, np.stack(points)


# --- Recorded runs of the reference -------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize(("name", "loss"), [("apgd_ce", "ce"), ("apgd_dlr", "dlr"), ("apgdt", "dlr_targeted")])
def test_equals_the_reference(shared, name, loss, norm):
    """Tightly over 20 iterations, then by outcome: late iterates part where signs of gradients are rounding."""
    trace = load_trace(shared, f"e4_{name}_{norm}")
    norm = norm.lower()
    targets = {"targets": trace.arrays["y_target"].astype(np.int32)} if loss == "dlr_targeted" else {}
    (result, curve), points = recorded(
        partial(ascend, epsilon=trace.epsilon, key=KEY, norm=norm, loss=loss, steps=100),
        trace.logits_fn,
        trace.images,
        trace.labels,
        initial_images=trace.arrays["x_init"],
        **targets,
    )
    expected = trace.arrays["traj"]
    assert points.shape == expected.shape
    np.testing.assert_allclose(points[:21], expected[:21], atol=1e-6 if norm == "linf" else 1e-5)
    np.testing.assert_allclose(result.loss, trace.arrays["loss_best"], atol=1e-5 if norm == "linf" else 1e-3)
    fooled = ~trace.arrays["acc"]
    np.testing.assert_array_equal(result.success, fooled)
    found = np.where(fooled[:, None, None, None], trace.arrays["x_best_adv"], trace.images)
    np.testing.assert_allclose(result.images, found, atol=1e-3)
    assert points.min() >= 0 and points.max() <= 1
    assert max(np.max(distance(point - trace.images, norm)) for point in points) <= trace.epsilon + 1e-6
    chex.assert_shape(curve, (101, 6))


@pytest.mark.parametrize(
    ("steps", "ends"),
    [
        (100, [22, 41, 57, 70, 80, 87, 93, 99]),
        (50, [11, 21, 30, 38, 45]),
        (20, [4, 7, 9, *range(10, 21)]),
        (1, [1]),
    ],
)
def test_checkpoints(steps, ends):
    windows = checkpoints(steps)
    assert list(np.flatnonzero(windows) + 1) == ends
    np.testing.assert_array_equal(windows[np.flatnonzero(windows)], np.diff([0, *ends]))


def test_l1_phases():
    schedule = plan("l1", 100, widened=True)
    np.testing.assert_array_equal(schedule.widening, np.repeat([3, 2, 1], [31, 31, 41]))
    np.testing.assert_array_equal(np.flatnonzero(schedule.begins), [0, 31, 62])
    np.testing.assert_array_equal(np.flatnonzero(schedule.window == 0), [0, 31, 62])  # else after each
    single = plan("l1", 100, widened=False)
    np.testing.assert_array_equal(np.flatnonzero(single.window), np.arange(4, 101, 4))
    for steps in range(1, 12):
        schedule = plan("l1", steps, widened=True)
        assert len(schedule.begins) == steps + 3 and np.sum(schedule.widening == 1) >= 2


# --- Linear models, whose strongest images are known --------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_two_linear_classes(norm):
    weights, images, labels, share = linear_problems(classes=2)
    radii = RADII[norm] * share
    result = attack_all(partial(apgd, steps=40), weights, images, labels, radii, norm)
    lead = largest_margins(weights, images, labels, radii, norm)
    loss, success = np.asarray(result.loss), np.asarray(result.success)
    assert 0.1 < np.mean(lead > 0) < 0.9
    np.testing.assert_allclose(loss, np.logaddexp(0, lead), atol=2e-5)
    clear = abs(lead) > 1e-4
    np.testing.assert_array_equal(success[clear], lead[clear] > 0)


@pytest.mark.parametrize(("norm", "classes", "loss"), [("linf", 3, "dlr"), ("l2", 5, "margin"), ("l1", 5, "margin")])
def test_many_linear_classes(norm, classes, loss):
    weights, images, labels, share = linear_problems(classes)
    radii = 0.5 * RADII[norm] * share
    result = attack_all(partial(apgd, steps=40, loss=loss), weights, images, labels, radii, norm)
    lead = largest_margins(weights, images, labels, radii, norm)
    success = np.asarray(result.success)
    assert 0.1 < np.mean(lead > 0) < 0.9
    assert not success[lead < -1e-4].any()
    assert success[lead > 1e-4].mean() > 0.95
    if loss == "margin":
        assert np.max(np.asarray(result.loss) - lead) < 2e-5


# --- L1 -----------------------------------------------------------------------------------------------------


def numpy_gradient(points, label):
    """Cross-entropy of one image [D] on the network and its gradient, in float64."""
    hidden_w, bias, out_w = (WEIGHTS[name].astype(np.float64) for name in ("hidden", "bias", "out"))
    hidden = np.tanh(points @ hidden_w + bias)
    logits = hidden @ out_w
    share = np.exp(logits - logits.max())
    share /= share.sum()
    slope = share - np.eye(CLASSES)[label]
    return -np.log(share[label]), (slope @ out_w.T * (1 - hidden**2)) @ hidden_w.T


def numpy_project(point, image, epsilon):
    move = point - image
    room = np.where(move > 0, 1 - image, image)
    low, high = 0.0, abs(move).max()
    if np.minimum(abs(move), room).sum() > epsilon:
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if np.clip(abs(move) - middle, 0, room).sum() > epsilon else (low, middle)
    return image + np.sign(move) * np.clip(abs(move) - low, 0, room)


def numpy_apgd_l1(image, label, start, epsilon, steps):
    """One phase of APGD-L1 for one image [D]; every evaluated point, in order."""
    every = max(int(0.04 * steps), 1)
    point = numpy_project(start, image, epsilon)
    best_loss, gradient = numpy_gradient(point, label)
    best, best_gradient = point, gradient
    moved = np.sum(abs(point - image) > 1e-7)
    density, step = moved / (1.5 * D), epsilon
    points = [point]
    for i in range(steps):
        index = min(max(int(np.ceil((1 - density) * D - 1e-9)), 0), D - 1)
        signs = np.sign(gradient) * (abs(gradient) >= np.sort(abs(gradient))[index])
        point = numpy_project(point + step * signs / abs(signs).sum(), image, epsilon)
        points.append(point)
        loss, gradient = numpy_gradient(point, label)
        if loss > best_loss:
            best, best_loss, best_gradient = point, loss, gradient
        if (i + 1) % every == 0:
            now = np.sum(abs(best - image) > 1e-7)
            density = now / (1.5 * D)
            if now / moved < 0.95:
                step, point, gradient = epsilon, best, best_gradient
            else:
                step = np.clip(step / 1.5, epsilon / 10, epsilon)
            moved = now
    return np.stack(points)


def test_l1_iterates_equal_the_numpy_version():
    rng = np.random.default_rng(0)
    start = (IMAGES + rng.normal(0, 0.3, IMAGES.shape)).astype(np.float32)
    epsilon = EPSILON["l1"]
    (result, _), points = recorded(
        partial(ascend, epsilon=epsilon, key=KEY, norm="l1", steps=60), logits_fn, IMAGES, LABELS, initial_images=start
    )
    inputs = zip(IMAGES.astype(np.float64), LABELS, start.astype(np.float64), strict=True)
    expected = [numpy_apgd_l1(image.ravel(), label, first.ravel(), epsilon, 60) for image, label, first in inputs]
    expected = np.stack(expected, axis=1).reshape(points.shape)
    # Steps end on soft thresholds and signs, which rounding decides in the end; but for every example late.
    np.testing.assert_allclose(points[:15], expected[:15], atol=1e-5)
    losses = [[numpy_gradient(point.ravel(), label)[0] for point, label in zip(row, LABELS)] for row in expected]  # noqa: B905
    np.testing.assert_allclose(result.loss, np.max(losses, axis=0), rtol=2e-3)


def test_l1_phases_continue_from_the_best_point():
    epsilon, widening = EPSILON["l1"], np.repeat([3, 2, 1], [7, 7, 9])
    (result, curve), points = recorded(
        partial(ascend, epsilon=epsilon, key=KEY, norm="l1", steps=20), logits_fn, IMAGES, LABELS
    )
    lengths = np.stack([distance(point - IMAGES, "l1") for point in points])
    assert len(points) == len(widening) and np.all(np.asarray(result.queries) == len(points))
    assert np.all(lengths <= epsilon * widening[:, None] + 1e-6)
    assert np.all(lengths.max(0) > 2.9 * epsilon)
    values = np.stack([cross_entropy(logits_fn(point), LABELS) for point in points])
    for first, last in ((0, 7), (7, 14)):
        best = np.take_along_axis(points, (first + values[first:last].argmax(0))[None, :, None, None, None], 0)[0]
        expected = project_l1(best, IMAGES, widening[last] * epsilon)
        np.testing.assert_allclose(points[last], expected, atol=1e-5)
    np.testing.assert_allclose(curve, np.maximum.accumulate(values[14:]), atol=1e-5)
    wrong = np.stack([np.asarray(logits_fn(point)).argmax(1) for point in points]) != LABELS
    assert wrong[:14].any(0).sum() > wrong[14:].any(0).sum()  # so that the wider ones would show
    np.testing.assert_array_equal(result.success, wrong[14:].any(0))


def test_sparse_direction_takes_the_largest():
    rng = np.random.default_rng(0)
    gradient = rng.normal(0, 1, (5, *SHAPE)).astype(np.float32) * 10.0 ** rng.integers(-30, 30, (5, 1, 1, 1))
    gradient = gradient.astype(np.float32)
    gradient[3] = 0
    gradient[4] = np.where(np.arange(D).reshape(SHAPE) < 8, -2.5, 1.0)  # eight tie
    count = np.array([7, 0, D, 4, 3])
    steps = np.asarray(jax.jit(sparse_direction)(gradient, count))
    for step, entries, number in zip(steps, gradient, [7, 1, D, 0, 8], strict=True):
        largest = abs(entries) >= (np.sort(abs(entries).ravel())[-number] if number else np.inf)
        np.testing.assert_allclose(step, np.sign(entries) * largest / max(number, 1), rtol=1e-6)


# --- What every run promises --------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_result_says_what_was_seen(norm):
    """Every field, recounted from the recorded points."""
    epsilon = EPSILON[norm]

    def both(model, images, labels):
        attack = partial(ascend, logits_fn, epsilon=epsilon, key=KEY, norm=norm, steps=20)
        highest, _ = attack(images, labels, keep="highest_loss")
        observed = partial(ascend, model, epsilon=epsilon, key=KEY, norm=norm, steps=20)
        return observed(images, labels), highest

    ((result, curve), highest), points = recorded(both, logits_fn, IMAGES, LABELS)
    chex.assert_trees_all_equal(result._replace(images=0), highest._replace(images=0))
    logits = np.stack([logits_fn(point) for point in points])
    wrong = logits.argmax(2) != LABELS
    values = np.stack([cross_entropy(rows, LABELS) for rows in logits])
    success, examples = wrong.any(0), np.arange(len(IMAGES))
    assert 0 < success.sum() < len(success)
    np.testing.assert_array_equal(result.success, success)
    np.testing.assert_array_equal(result.last_success, wrong[-1])
    np.testing.assert_array_equal(result.queries, 21)
    np.testing.assert_allclose(curve, np.maximum.accumulate(values), atol=1e-5)
    np.testing.assert_array_equal(result.loss, curve[-1])
    latest = 20 - wrong[::-1].argmax(0)
    expected = np.where(success[:, None, None, None], points[latest, examples], IMAGES)
    np.testing.assert_array_equal(result.images, expected)
    assert (np.asarray(logits_fn(result.images)).argmax(1) != LABELS)[success].all()
    np.testing.assert_allclose(cross_entropy(logits_fn(highest.images), LABELS), values.max(0), atol=1e-5)
    assert max(np.max(distance(point - IMAGES, norm)) for point in points) <= epsilon + 1e-6
    assert points.min() >= 0 and points.max() <= 1
    if norm == "linf":  # the largest entry of the noise has the length of the radius before it meets the box
        reach = abs(points[0] - IMAGES).max((1, 2, 3))
        assert np.median(reach) > 0.999 * epsilon


@pytest.fixture(scope="module")
def compiled():
    """norm → `apgd` on the network with 2 restarts, jitted once; everything that may be traced is."""

    def build(norm):
        attack = partial(apgd, logits_fn, norm=norm, steps=12, restarts=2)
        return jax.jit(lambda images, labels, key, epsilon: attack(images, labels, key=key, epsilon=epsilon))

    return {norm: build(norm) for norm in NORMS}


@pytest.mark.parametrize("norm", NORMS)
def test_neighbours_do_not_matter(compiled, norm):
    """Same bits whatever else the batch holds; up to rounding the same in a batch of another size."""
    whole = compiled[norm](IMAGES, LABELS, KEY, EPSILON[norm])
    strangers = 1 - IMAGES
    strangers[3] = IMAGES[3]
    mixed = compiled[norm](strangers, LABELS, KEY, EPSILON[norm])
    for field, other in zip(whole, mixed, strict=True):
        np.testing.assert_array_equal(field[3], other[3])

    if norm == "l2":  # where rounding decides no sign
        keys = per_example_keys(KEY, len(IMAGES))[2:7]
        part = compiled[norm](IMAGES[2:7], LABELS[2:7], keys, EPSILON[norm])
        chex.assert_trees_all_close(part, jax.tree.map(lambda field: field[2:7], whole), atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_radius_is_the_clean_prediction(compiled, norm):
    labels = LABELS.copy()
    labels[:4] = (labels[:4] + 1) % CLASSES
    result = compiled[norm](IMAGES, labels, KEY, 0.0)
    np.testing.assert_array_equal(result.success, np.arange(len(labels)) < 4)
    np.testing.assert_array_equal(result.images, IMAGES)
    np.testing.assert_allclose(result.loss, cross_entropy(logits_fn(IMAGES), labels), atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_compiled_once_and_reproducible(compiled, norm):
    results = [compiled[norm](IMAGES, LABELS, KEY, epsilon) for epsilon in (0.01, EPSILON[norm], EPSILON[norm])]
    chex.assert_trees_all_equal(*results[1:])
    assert np.all(np.asarray(results[0].loss) < np.asarray(results[1].loss))
    np.testing.assert_array_equal(results[0].queries, 2 * (12 + (3 if norm == "l1" else 1)))


def test_the_model_is_traced_once():
    """One body serves start, steps, phases and restarts."""
    traces = []

    def model(images):
        traces.append(1)
        return logits_fn(images)

    attack = partial(apgd, model, epsilon=0.5, key=KEY, norm="l1", steps=9, restarts=3)
    jax.jit(attack).lower(IMAGES, LABELS)
    assert len(traces) == 1


def test_restarts_are_runs_of_their_own():
    """The result of three restarts, put together from three runs."""
    settings = {"epsilon": 1.4 * EPSILON["l2"], "norm": "l2", "steps": 1}
    keys = per_example_keys(KEY, len(IMAGES))
    single = jax.jit(lambda keys: ascend(logits_fn, IMAGES, LABELS, key=keys, **settings)[0])
    runs = [single(jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, restart)) for restart in range(3)]
    runs = jax.tree.map(lambda *fields: np.stack(fields), *runs)
    wins = runs.success.sum(0)
    assert np.any((wins > 1) & ~runs.success[0])  # the second of several is the first to win

    fooling, highest = (
        jax.jit(partial(apgd, logits_fn, restarts=3, keep=keep, **settings))(IMAGES, LABELS, key=KEY)
        for keep in ("fooling", "highest_loss")
    )
    chex.assert_trees_all_close(fooling._replace(images=0), highest._replace(images=0), rtol=1e-6)
    np.testing.assert_array_equal(fooling.success, runs.success.any(0))
    np.testing.assert_array_equal(fooling.last_success, runs.last_success.any(0))
    np.testing.assert_array_equal(fooling.queries, runs.queries.sum(0))
    np.testing.assert_allclose(fooling.loss, runs.loss.max(0), rtol=1e-6)
    first = runs.images[runs.success.argmax(0), np.arange(len(IMAGES))]
    np.testing.assert_allclose(fooling.images, first, atol=1e-6)
    assert len(set(runs.loss.argmax(0))) > 1
    np.testing.assert_allclose(cross_entropy(logits_fn(highest.images), LABELS), highest.loss, rtol=1e-5)


def test_targets_direct_but_any_mistake_counts():
    ranks = np.asarray(logits_fn(IMAGES)).argsort(1)
    second, last = ranks[:, -2].astype(np.int32), ranks[:, 0].astype(np.int32)
    attack = jax.jit(
        lambda targets, epsilon: apgd(
            logits_fn, IMAGES, LABELS, epsilon=epsilon, key=KEY, steps=20, loss="dlr_targeted", targets=targets
        )
    )
    near, far = (attack(targets, 2 * EPSILON["linf"]) for targets in (second, last))
    for result, targets, direct in ((near, second, True), (far, last, False)):
        fooled = np.asarray(result.success)
        won = np.asarray(logits_fn(result.images)).argmax(1)[fooled]
        assert fooled.any() and np.all(won != LABELS[fooled])
        assert np.all(won == targets[fooled]) == direct


def test_a_fooling_start_counts():
    """A model that errs near the start only: left after the first step, yet a success."""
    start = np.full((1, *SHAPE), 0.5, np.float32)

    def model(images):
        pixel = images[:, 0, 0, 0]
        return jnp.stack([jnp.zeros_like(pixel), 0.02 - jnp.abs(pixel - 0.5), pixel - 10], axis=1)

    attack = partial(apgd, model, epsilon=0.2, key=KEY, steps=3, loss=lambda logits, labels: logits[:, 2])
    result = jax.jit(attack)(start, jnp.array([0]), initial_images=start)
    assert result.success[0] and not result.last_success[0]
    np.testing.assert_array_equal(result.images, start)
    np.testing.assert_allclose(result.loss, 0.7 - 10, rtol=1e-6)


def test_starts_are_moved_into_the_ball():
    attack = partial(ascend, epsilon=0.1, key=KEY, norm="l2", steps=1)
    _, points = recorded(attack, logits_fn, IMAGES, LABELS, initial_images=IMAGES + 0.7)
    np.testing.assert_array_less(distance(points[0] - IMAGES, "l2"), 0.1 + 1e-6)
    assert points.max() <= 1 and np.all(points[0] >= IMAGES)


# --- Random models ------------------------------------------------------------------------------------------


def test_random_models_are_averaged():
    """Loss and prediction are those of the mean over draws, recounted from what each draw said."""
    said, drawn = [], []

    def model(images, key):
        logits = logits_fn(images) + 3 * jax.random.normal(key, (len(images), CLASSES))
        jax.debug.callback(lambda rows: said.append(np.array(rows)), logits, ordered=True)
        jax.debug.callback(lambda data: drawn.append(tuple(data.tolist())), jax.random.key_data(key), ordered=True)
        return logits

    result = jax.jit(partial(apgd, model, epsilon=0.02, key=KEY, steps=5, restarts=2, eot=8))(IMAGES, LABELS)
    jax.effects_barrier()
    said = np.stack(said).reshape(2 * 6, 8, len(IMAGES), CLASSES)
    assert len(set(drawn)) == 2 * 6 * 8 * len(IMAGES), "every example has draws of its own"
    np.testing.assert_array_equal(result.queries, 2 * 6 * 8)
    values = np.stack([[cross_entropy(rows, LABELS) for rows in draws] for draws in said]).mean(1)
    np.testing.assert_allclose(result.loss, values.max(0), rtol=1e-5)
    probabilities = np.asarray(jax.nn.softmax(said)).mean(1)
    success = (probabilities.argmax(-1) != LABELS).any(0)
    np.testing.assert_array_equal(result.success, success)
    lucky = (said.argmax(-1) != LABELS).any((0, 1))
    assert lucky.sum() > success.sum()


def test_gradients_are_averaged_over_draws():
    """A model linear in the pixels with random weights: the first step follows the sign of their mean."""
    seen, slopes = [], []

    def model(images, key):
        slope = jax.random.normal(key, (D,))
        jax.debug.callback(lambda *pair: (seen.append(pair[0]), slopes.append(pair[1])), images, slope, ordered=True)
        rise = images.reshape(len(images), -1) @ slope
        return jnp.stack([jnp.zeros_like(rise), rise], axis=1)

    attack = partial(ascend, model, epsilon=0.02, key=KEY, steps=1, eot=3, loss=lambda logits, labels: logits[:, 1])
    grey = jnp.full((2, *SHAPE), 0.5)
    jax.block_until_ready(jax.jit(attack)(grey, jnp.zeros(2, jnp.int32), initial_images=grey))
    jax.effects_barrier()
    mean = np.reshape(slopes[:6], (3, 2, D)).mean(0)  # each image is asked alone, with slopes of its own
    expected = 0.5 + 0.02 * np.sign(mean).reshape(2, *SHAPE)
    np.testing.assert_allclose(np.concatenate(seen[6:8]), expected, atol=1e-6)


# --- Edges --------------------------------------------------------------------------------------------------


def broken(images):
    """Right values, but every gradient is NaN: that of a square root at 0."""
    return logits_fn(images) + jnp.sqrt(0.0 * images.sum((1, 2, 3)))[:, None]


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_useless_gradients_do_no_harm(norm):
    attack = partial(apgd, broken, epsilon=0.05, key=KEY, norm=norm, steps=3)
    result = jax.jit(attack)(IMAGES, LABELS, initial_images=IMAGES)
    assert not np.any(result.success)
    np.testing.assert_array_equal(result.images, IMAGES)
    np.testing.assert_allclose(result.loss, cross_entropy(logits_fn(IMAGES), LABELS), atol=1e-5)


def test_a_loss_that_is_not_a_number_is_never_the_best():
    def loss(logits, labels):
        value = cross_entropy(logits, labels)
        return jnp.where(value > 0.2, jnp.nan, value)

    result = jax.jit(partial(apgd, logits_fn, epsilon=0.05, key=KEY, steps=8, loss=loss))(IMAGES, LABELS)
    best = np.asarray(result.loss)
    assert np.all(best <= 0.2) and np.isfinite(best).any()


def test_no_gradient_flows():
    def everything(weights, images, epsilon):
        model = partial(network, weights)
        result, curve = ascend(model, images, LABELS, epsilon=epsilon, key=KEY, steps=2)
        found = apgd(model, images, LABELS, epsilon=epsilon, key=KEY, norm="l1", steps=3, keep="highest_loss")
        return result.loss.sum() + result.images.sum() + curve.sum() + found.images.sum() + found.loss.sum()

    gradients = jax.jit(jax.grad(everything, argnums=(0, 1, 2)))(WEIGHTS, IMAGES, 0.1)
    for gradient in jax.tree.leaves(gradients):
        assert not np.any(gradient)


@pytest.mark.parametrize("norm", NORMS)
def test_no_images(norm):
    result = apgd(logits_fn, IMAGES[:0], LABELS[:0], epsilon="8/255", key=KEY, norm=norm, restarts=2)
    chex.assert_shape([result.success, result.loss, result.queries, result.last_success], (0,))
    chex.assert_shape(result.images, (0, *SHAPE))
    _, curve = ascend(logits_fn, IMAGES[:0], LABELS[:0], epsilon="8/255", key=KEY, norm=norm, steps=10)
    chex.assert_shape(curve, (5 if norm == "l1" else 11, 0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"norm": "l7"}, "unknown norm 'l7'; expected one of linf, l2, l1"),
        ({"epsilon": "eight"}, "cannot read 'eight'"),
        ({"epsilon": 8}, "'8/255' meant"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"restarts": 0}, "restarts must be a whole number of at least 1, got 0"),
        *(({"eot": value}, "eot must be a whole number") for value in ("2", 2.0)),
        ({"loss": ["ce"]}, "loss must be one value"),
        ({"eot": 0}, "eot must be a whole number of at least 1, got 0"),
        ({"restarts": 2, "initial_images": IMAGES}, "would repeat one run"),
        ({"initial_images": IMAGES[:2]}, r"shape of images, \(9, 4, 3, 3\); got \(2, 4, 3, 3\)"),
        ({"keep": "last"}, "unknown keep='last'; expected one of fooling, highest_loss"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; expected one of ce, margin, dlr, dlr_targeted"),
        ({"loss": "dlr_targeted"}, "needs targets"),
        ({"targets": LABELS}, "read by loss='dlr_targeted' only"),
        ({"loss": "dlr_targeted", "targets": LABELS[:2]}, r"integers of shape \(9,\)"),
        ({"loss": "dlr_targeted", "targets": np.zeros(9, np.float32)}, "targets must be integers"),
        ({"key": 0}, "typed key"),
        ({"images": (255 * IMAGES).astype(np.uint8)}, "images / 255"),
        ({"labels": np.eye(CLASSES, dtype=np.int32)[LABELS]}, "argmax"),
        ({"logits_fn": lambda images: logits_fn(images)[:, 0]}, r"must return \[N, K\] logits .* gave shape \(1,\)"),
        (
            {
                "logits_fn": lambda images: logits_fn(images)[:, :3],
                "labels": LABELS % 3,
                "loss": "dlr_targeted",
                "targets": LABELS % 3,
            },
            "K=3; use DLR",
        ),
        (
            {"logits_fn": lambda images: logits_fn(images)[:, :2], "labels": LABELS % 2, "loss": "dlr"},
            "K=2; use the margin loss",
        ),
        ({"logits_fn": lambda images: logits_fn(images)[:, :1]}, "num_classes=1"),
    ],
)
def test_refusals(change, words):
    inputs = {"logits_fn": logits_fn, "images": IMAGES, "labels": LABELS}
    with pytest.raises(ValueError, match=words):
        apgd(**inputs | {"epsilon": 0.1, "key": KEY, "steps": 1} | change)
