"""Gradient attacks: closed forms on linear models, NumPy versions, and what every result promises."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
from problems import KEY, RADII, SHAPE, D, attack_all, largest_margins, linear, linear_problems
import pytest

from rnas.attacks import cross_entropy, cw, fgsm, initial_images, mim, pgd, projected_ascent
from rnas.attacks.projections import distance
from rnas.attacks.random_start import per_example_keys

NORMS = ("linf", "l2")

# On a linear model each of these reaches the boundary of the ball in the best direction.
ATTACKS = {
    "fgsm": fgsm,
    "pgd": partial(pgd, steps=40),
    "mim": partial(mim, steps=12),
    "cw": partial(cw, steps=100),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_two_linear_classes_exactly(name, norm):
    weights, images, labels, share = linear_problems(classes=2)
    radii = RADII[norm] * share
    result = attack_all(ATTACKS[name], weights, images, labels, radii, norm)
    lead = largest_margins(weights, images, labels, radii, norm)
    loss = lead if name == "cw" else np.logaddexp(0, lead)
    np.testing.assert_allclose(result.loss, loss, atol=2e-5)
    clear = abs(lead) > 1e-4
    np.testing.assert_array_equal(np.asarray(result.success)[clear], lead[clear] > 0)
    assert 0.1 < np.mean(lead > 0) < 0.9


@pytest.mark.parametrize("norm", NORMS)
def test_many_linear_classes(norm):
    """No attack beats the closed form; with the margin as loss nearly all it promises is found."""
    weights, images, labels, share = linear_problems(classes=6)
    radii = 0.5 * RADII[norm] * share
    lead = largest_margins(weights, images, labels, radii, norm)
    for name in ("mim", "cw"):
        result = attack_all(ATTACKS[name], weights, images, labels, radii, norm)
        success = np.asarray(result.success)
        assert not success[lead < -1e-4].any()
        if name == "cw":
            assert np.max(np.asarray(result.loss) - lead) < 2e-5
            assert success[lead > 1e-4].mean() > 0.95
    assert 0.1 < np.mean(lead > 0) < 0.9


# A network with curvature: tanh layer, four classes.
_rng = np.random.default_rng(5)
WEIGHTS = {
    "hidden": _rng.normal(0, 1.5, (D, 8)).astype(np.float32),
    "bias": _rng.normal(0, 0.3, 8).astype(np.float32),
    "out": _rng.normal(0, 1.5, (8, 4)).astype(np.float32),
}
IMAGES = _rng.uniform(0, 1, (9, *SHAPE)).astype(np.float32)


def network(weights, images):
    hidden = jnp.tanh(images.reshape(len(images), -1) @ weights["hidden"] + weights["bias"][None])
    return hidden @ weights["out"]


logits_fn = partial(network, WEIGHTS)
LABELS = np.asarray(logits_fn(IMAGES)).argmax(1).astype(np.int32)


@pytest.fixture(scope="module")
def compiled():
    """norm → `pgd` on the network, jitted once for all tests; everything that may be traced is."""

    def build(norm):
        def run(images, labels, key, epsilon, step_size, steps, restarts):
            return pgd(
                logits_fn,
                images,
                labels,
                key=key,
                epsilon=epsilon,
                step_size=step_size,
                steps=steps,
                restarts=restarts,
                norm=norm,
            )

        return jax.jit(run)

    return {norm: build(norm) for norm in NORMS}


def numpy_ascent(images, start, labels, *, epsilon, step_size, steps, norm, momentum=None):
    """PGD, or MI-FGSM with `momentum`, on the network, in float64 with the gradient written out."""
    hidden_w, bias, out_w = (WEIGHTS[name].astype(np.float64) for name in ("hidden", "bias", "out"))
    images, points = (array.reshape(len(array), D).astype(np.float64) for array in (images, start))
    velocity = np.zeros_like(points)
    for _ in range(steps):
        hidden = np.tanh(points @ hidden_w + bias)
        logits = hidden @ out_w
        slope = np.exp(logits - logits.max(1, keepdims=True))
        slope /= slope.sum(1, keepdims=True)
        slope[np.arange(len(labels)), labels] -= 1
        gradient = (slope @ out_w.T * (1 - hidden**2)) @ hidden_w.T
        if momentum is not None:
            velocity = momentum * velocity + gradient / abs(gradient).sum(1, keepdims=True)
            gradient = velocity
        if norm == "linf":
            points = np.clip(points + step_size * np.sign(gradient), images - epsilon, images + epsilon)
        else:
            move = points + step_size * gradient / np.linalg.norm(gradient, axis=1, keepdims=True) - images
            length = np.linalg.norm(move, axis=1, keepdims=True)
            points = images + move * np.minimum(1, epsilon / np.maximum(length, 1e-30))
        points = np.clip(points, 0, 1)
    return points.reshape(len(points), *SHAPE)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("momentum", "start"), [(None, "uniform"), (0.0, "uniform"), (1.0, "none")])
def test_iterates_equal_the_numpy_version(norm, momentum, start):
    epsilon = 2 * RADII[norm]
    settings = {"epsilon": epsilon, "step_size": epsilon / 5, "steps": 12, "norm": norm, "momentum": momentum}
    first = initial_images(KEY, IMAGES, epsilon, start, norm)
    points = projected_ascent(lambda images: cross_entropy(logits_fn(images), LABELS), first, IMAGES, **settings)
    expected = numpy_ascent(IMAGES, np.asarray(first), LABELS, **settings)
    np.testing.assert_allclose(points, expected, atol=5e-5)
    assert abs(expected - IMAGES).max() > 0.5 * settings["step_size"]


@pytest.mark.parametrize("norm", NORMS)
def test_result_keeps_its_promises(compiled, norm):
    epsilon = 2 * RADII[norm]
    result = compiled[norm](IMAGES, LABELS, KEY, epsilon, epsilon / 4, 10, 2)
    success, images = np.asarray(result.success), np.asarray(result.images)
    assert 0 < success.sum() < len(success)
    np.testing.assert_array_equal(images[~success], IMAGES[~success])
    assert (np.asarray(logits_fn(images)).argmax(1) != LABELS)[success].all()
    assert np.max(distance(images - IMAGES, norm)) <= epsilon + 1e-6
    assert images.min() >= 0 and images.max() <= 1
    np.testing.assert_array_equal(result.queries, 2 * (10 + 1))
    assert not np.any(np.asarray(result.last_success) & ~success)
    assert (result.images.dtype, result.loss.dtype, result.queries.dtype) == (
        np.float32,
        np.float32,
        np.int32,
    )


@pytest.mark.parametrize("norm", NORMS)
def test_zero_radius_is_the_clean_prediction(compiled, norm):
    labels = LABELS.copy()
    labels[:4] = (labels[:4] + 1) % 4
    result = compiled[norm](IMAGES, labels, KEY, 0.0, 0.1, 10, 2)
    np.testing.assert_array_equal(result.success, np.arange(len(labels)) < 4)
    np.testing.assert_array_equal(result.last_success, result.success)
    np.testing.assert_array_equal(result.images, IMAGES)
    np.testing.assert_allclose(result.loss, cross_entropy(logits_fn(IMAGES), labels), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_one_compilation_serves_all_settings(norm):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(images, key, epsilon, step_size, steps, restarts, momentum):
        return pgd(
            logits_fn,
            images,
            LABELS,
            key=key,
            epsilon=epsilon,
            step_size=step_size,
            steps=steps,
            restarts=restarts,
            momentum=momentum,
            norm=norm,
        )

    for epsilon, steps, restarts, momentum in [(0.1, 4, 1, 0.0), (0.2, 9, 2, 1.0), (0.0, 0, 1, 0.5)]:
        result = run(IMAGES, KEY, epsilon, 0.05, steps, restarts, momentum)
        np.testing.assert_array_equal(result.queries, restarts * (steps + 1))


@pytest.mark.parametrize("norm", NORMS)
def test_neighbours_do_not_matter(compiled, norm):
    """Same bits whatever else the batch holds; up to rounding the same in a batch of another size."""
    settings = (2 * RADII[norm], 0.5 * RADII[norm], 10, 2)
    whole = compiled[norm](IMAGES, LABELS, KEY, *settings)

    strangers = 1 - IMAGES
    strangers[3] = IMAGES[3]
    mixed = compiled[norm](strangers, LABELS, KEY, *settings)
    for field, other in zip(whole, mixed, strict=True):
        np.testing.assert_array_equal(field[3], other[3])

    rows = {"linf": slice(3, 4), "l2": slice(2, 7)}[norm]
    keys = per_example_keys(KEY, len(IMAGES))[rows]
    part = compiled[norm](IMAGES[rows], LABELS[rows], keys, *settings)
    chex.assert_trees_all_close(part, jax.tree.map(lambda field: field[rows], whole), atol=1e-5)


def test_keys_decide(compiled):
    settings = (0.15, 0.03, 2, 1)
    first, again, other = (compiled["linf"](IMAGES, LABELS, key, *settings) for key in (KEY, KEY, jax.random.key(8)))
    chex.assert_trees_all_equal(first, again)
    assert np.all(np.asarray(first.loss) != np.asarray(other.loss))


def test_restarts_add_to_the_first_run(compiled):
    """The second run of two is a run of its own: the best loss can only rise, and does for some."""
    once, twice, five = (compiled["l2"](IMAGES, LABELS, KEY, 0.4, 0.05, 3, n) for n in (1, 2, 5))
    for few, more in ((once, twice), (twice, five)):
        gain = np.asarray(more.loss - few.loss)
        assert gain.min() >= 0 and gain.max() > 0
        assert np.all(more.success >= few.success) and np.all(more.last_success >= few.last_success)


# Three logits (0, bump, slope) of the first pixel: ascent of the third moves it up by the step size each
# time, and the second exceeds the first within 0.02 of a centre.
def hill(centre, images):
    pixel = images[:, 0, 0, 0]
    return jnp.stack([jnp.zeros_like(pixel), 0.02 - jnp.abs(pixel - centre), pixel - 10.0], axis=1)


def climb(model, images):
    return pgd(
        model,
        images,
        jnp.zeros(len(images), jnp.int32),
        epsilon=0.2,
        key=KEY,
        steps=4,
        step_size=0.05,
        start="none",
        loss=lambda logits, labels: logits[:, 2],
    )


@pytest.mark.parametrize(("centre", "success", "last"), [(0.6, True, False), (0.7, True, True), (0.8, False, False)])
def test_any_iterate_counts_and_the_last_is_told_apart(centre, success, last):
    grey = jnp.full((1, *SHAPE), 0.5)
    result = climb(partial(hill, centre), grey)
    assert (bool(result.success[0]), bool(result.last_success[0])) == (success, last)
    np.testing.assert_allclose(result.images[0, 0, 0, 0], centre if success else 0.5, atol=1e-6)
    np.testing.assert_allclose(result.loss, 0.7 - 10, atol=1e-5)


def test_a_fooling_start_counts():
    grey = jnp.full((1, *SHAPE), 0.5)
    result = fgsm(partial(hill, 0.5), grey, jnp.array([0]), epsilon="25.5/255", key=KEY)
    assert result.success[0] and not result.last_success[0]
    np.testing.assert_array_equal(result.images, grey)


def test_the_latest_fooling_iterate_is_returned():
    grey = jnp.full((1, *SHAPE), 0.5)
    result = climb(lambda images: hill(0.6, images) + jnp.array([[0.0, 0.04, 0.0]]), grey)
    np.testing.assert_allclose(result.images[0, 0, 0, 0], 0.65, atol=1e-6)


def test_every_query_is_paid_for_once():
    seen = []

    def counted(images):
        jax.debug.callback(lambda: seen.append(1))
        return logits_fn(images)

    result = jax.jit(partial(pgd, counted, epsilon=0.1, key=KEY, steps=6, restarts=2))(IMAGES, LABELS)
    jax.block_until_ready(result)
    jax.effects_barrier()
    assert len(seen) == int(result.queries[0]) == 14


def test_no_gradient_flows():
    """Neither through images nor radii nor weights that the model closes over."""

    def everything(weights, images, epsilon):
        model = partial(network, weights)
        result = pgd(model, images, LABELS, epsilon=epsilon, key=KEY, steps=2, step_size=epsilon)
        points, total = projected_ascent(
            lambda points, total: (cross_entropy(model(points), LABELS), total + weights["bias"].sum()),
            images,
            images,
            epsilon=epsilon,
            step_size=epsilon,
            steps=2,
            carry=jnp.float32(0),
        )
        return result.loss.sum() + result.images.sum() + points.sum() + total

    gradients = jax.jit(jax.grad(everything, argnums=(0, 1, 2)))(WEIGHTS, IMAGES, 0.1)
    for gradient in jax.tree.leaves(gradients):
        assert not np.any(gradient)


def test_carry_is_handed_on():
    """As BatchNorm statistics would be: one update for each of the gradients, none for the last iterate."""
    points, (count, total) = projected_ascent(
        lambda images, carry: (images.sum((1, 2, 3)), (carry[0] + 1, carry[1] + images[0, 0, 0, 0])),
        jnp.full((2, *SHAPE), 0.5),
        jnp.full((2, *SHAPE), 0.5),
        epsilon="0.5",
        step_size=0.1,
        steps=3,
        carry=(jnp.int32(0), jnp.float32(0)),
    )
    assert count == 3
    np.testing.assert_allclose(total, 0.5 + 0.6 + 0.7, rtol=1e-6)
    np.testing.assert_allclose(points, 0.8, rtol=1e-6)


def quantised(images):
    return logits_fn(jnp.round(4 * images) / 4)


def broken(images):
    """Right values, but every gradient is NaN: that of a square root at 0."""
    return logits_fn(images) + jnp.sqrt(0.0 * images.sum((1, 2, 3)))[:, None]


@pytest.mark.parametrize(
    ("model", "attack", "norm"),
    [(quantised, pgd, "linf"), (quantised, mim, "l2"), (broken, pgd, "l2"), (broken, mim, "linf")],
)
def test_useless_gradients_do_no_harm(model, attack, norm):
    attack = partial(attack, model, epsilon=0.1, key=KEY, norm=norm, steps=3, start="none")
    result = jax.jit(attack)(IMAGES, LABELS)
    changed = np.asarray(model(IMAGES)).argmax(1) != LABELS
    np.testing.assert_array_equal(result.success, changed)
    np.testing.assert_array_equal(result.images, IMAGES)
    np.testing.assert_allclose(result.loss, cross_entropy(model(IMAGES), LABELS), atol=1e-6)


@pytest.mark.parametrize("attack", [fgsm, pgd, mim, cw])
def test_no_images(attack):
    result = attack(logits_fn, IMAGES[:0], LABELS[:0], epsilon="8/255", key=KEY)
    chex.assert_shape([result.success, result.loss, result.queries, result.last_success], (0,))
    chex.assert_shape(result.images, (0, *SHAPE))


def test_kappa_stops_the_ascent():
    """The objective is flat once a wrong class leads by kappa, so its best value is 0 there."""
    weights, images, labels, share = linear_problems(classes=2)
    radii, kappa = RADII["linf"] * share, 0.1
    result = attack_all(partial(cw, steps=60, kappa=kappa), weights, images, labels, radii, "linf")
    lead = largest_margins(weights, images, labels, radii, "linf")
    np.testing.assert_allclose(result.loss, np.minimum(lead - kappa, 0), atol=2e-5)
    assert np.asarray(result.success)[lead > 1e-4].all()


def test_default_step_sizes():
    """One step from the image itself moves a linear model's pixels by exactly the step."""
    model = partial(linear, np.asarray(linear_problems(classes=2)[0][0]))
    images = jnp.full((1, *SHAPE), 0.5)
    label = jnp.argmin(model(images), axis=1)  # wrong already, so the last iterate is returned

    def moved(attack):
        result = attack(model, images, label, epsilon="8/255", key=KEY, start="none", steps=1)
        return abs(np.asarray(result.images - images)).max()

    np.testing.assert_allclose([moved(pgd), moved(cw)], [2 / 255, 0.003], rtol=1e-4)
    np.testing.assert_allclose(moved(mim), 8 / 255, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"norm": "l1"}, "APGD"),
        ({"norm": "l7"}, "unknown norm 'l7'; expected one of linf, l2, l1"),
        ({"epsilon": "eight"}, "cannot read 'eight'"),
        ({"epsilon": 8}, "'8/255' meant"),
        ({"step_size": -0.1}, "at least 0, got -0.1"),
        ({"steps": -1}, "steps must be a whole number of at least 0, got -1"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"restarts": 0}, "restarts must be a whole number of at least 1, got 0"),
        ({"restarts": 2, "start": "none"}, "would repeat one run"),
        ({"start": "random"}, "unknown start 'random'"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; expected one of ce, margin, dlr"),
        ({"key": 0}, "typed key"),
        ({"images": (255 * IMAGES).astype(np.uint8)}, "images / 255"),
        ({"labels": np.eye(4, dtype=np.int32)[LABELS]}, "argmax"),
        (
            {"logits_fn": lambda images: logits_fn(images)[:, 0]},
            r"must return \[N, K\] logits .* gave shape \(1,\)",
        ),
        ({"logits_fn": lambda images: logits_fn(images)[:, :2], "loss": "dlr"}, "K=2; use the margin loss"),
        ({"logits_fn": lambda images: logits_fn(images)[:, :1]}, "num_classes=1"),
    ],
)
def test_refusals(change, words):
    inputs = {"logits_fn": logits_fn, "images": IMAGES, "labels": LABELS}
    with pytest.raises(ValueError, match=words):
        pgd(**inputs | {"epsilon": 0.1, "key": KEY, "steps": 1} | change)
