"""FAB: recorded runs, nearest images of linear models in closed form, and what every result promises."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
from problems import DUAL, KEY, RADII, SHAPE, D, attack_all, linear_problems
import pytest
from traces import load_trace

from rnas.attacks.fab import fab, halfway
from rnas.attacks.projections import distance
from rnas.attacks.random_start import per_example_keys

NORMS = ("linf", "l2", "l1")
FILES = {"linf": "e4_fabt_Linf", "l2": "e4_fabt_L2", "l1": "e4_fabt_L1"}


@pytest.mark.parametrize(
    ("norm", "accepted"), [("linf", []), ("l2", [1]), ("l1", [0, 1, 2, 3, 4, 5])], ids=FILES.values()
)
def test_recorded_runs(shared, norm, accepted):
    trace = load_trace(shared, FILES[norm])
    points = []

    def watched(images):
        jax.debug.callback(points.append, images, ordered=True)
        return trace.logits_fn(images)

    def run(images, labels, targets, epsilon):
        return fab(watched, images, labels, epsilon=epsilon, key=KEY, norm=norm, steps=40, targets=targets)

    targets = trace.arrays["logits"].argsort(1)[:, -int(trace.arrays["target_class"])].astype(np.int32)
    result = jax.jit(run)(trace.images, trace.labels, targets, trace.epsilon)
    jax.block_until_ready(result)
    jax.effects_barrier()

    off = abs(np.stack(points) - trace.arrays["traj"][2:])
    assert off[:40].max() < 1e-5
    # In Linf the sign of a slope of 1e-8 decides the move of a whole pixel; the trace need not repeat it.
    assert np.mean(off > 1e-4) < (2e-3 if norm == "linf" else 1e-12)
    np.testing.assert_array_equal(result.queries, len(points))

    expected = distance(trace.arrays["adv"] - trace.images, norm)
    np.testing.assert_allclose(-result.loss, expected, rtol=1e-4)
    np.testing.assert_array_equal(np.flatnonzero(result.success), accepted)
    found = np.where(np.isin(np.arange(6), accepted)[:, None, None, None], trace.arrays["adv"], trace.images)
    np.testing.assert_allclose(result.images, found, atol=1e-4)


def true_distances(weights, images, labels, norm):
    """Distance [count, N, K] of every class's boundary with the label, inf for the label itself."""
    weights = weights.astype(np.float64)
    logits = np.einsum("pnd,pdk->pnk", images.reshape(*labels.shape, D), weights)
    own = np.take_along_axis(weights, labels[:, None, :], 2)
    slopes = np.linalg.norm(weights[:, :, None, :] - own[..., None], DUAL[norm], axis=1)
    lead = np.take_along_axis(logits, labels[..., None], 2) - logits
    return np.where(np.arange(weights.shape[-1]) == labels[..., None], np.inf, lead / np.maximum(slopes, 1e-12))


@pytest.mark.parametrize("norm", NORMS)
def test_two_linear_classes(norm):
    """With one boundary the distance is found to 1 %, and never one below it."""

    def towards_the_other(model, images, labels, **settings):
        return fab(model, images, labels, targets=1 - labels, steps=12, **settings)

    weights, images, labels, share = linear_problems(classes=2)
    radii = RADII[norm] * share
    result = attack_all(towards_the_other, weights, images, labels, radii, norm)
    nearest = true_distances(weights, images, labels, norm).min(-1)
    ratio = -np.asarray(result.loss) / nearest
    inside = nearest < RADII[norm]  # the box is further away
    assert ratio[inside].min() > 1 - 1e-4 and ratio[inside].max() < 1.01
    assert inside.mean() > 0.2
    reach = radii[:, None] / nearest
    success = np.asarray(result.success)
    assert success[reach > 1.01].all() and not success[reach < 1 - 1e-4].any()
    assert 0.1 < success.mean() < 0.9


@pytest.mark.parametrize("norm", NORMS)
def test_many_linear_classes(norm):
    """No distance is below the closed form's; over all targets it is found, and as well without target."""
    weights, images, labels, share = linear_problems(classes=6)

    def every_way(model, images, labels, **settings):
        targeted = jax.vmap(
            lambda offset: fab(model, images, labels, targets=(labels + offset) % 6, steps=15, **settings)
        )
        return targeted(jnp.arange(1, 6)), fab(model, images, labels, steps=15, **settings)

    targeted, untargeted = attack_all(every_way, weights, images, labels, RADII[norm] * share, norm)
    nearest = true_distances(weights, images, labels, norm).min(-1)
    inside = nearest < RADII[norm]
    assert inside.mean() > 0.2
    found = -np.asarray(targeted.loss)  # [count, 5, N]
    best, free = found.min(1), -np.asarray(untargeted.loss)
    for lengths in (best, free):
        ratio = (lengths / nearest)[inside]
        assert ratio.min() > 1 - 1e-4
        assert np.mean(ratio < 1.01) > 0.99
    agree = abs(free / best - 1)[inside]
    assert np.mean(agree < 0.01) > 0.99
    success = np.asarray(untargeted.success)
    np.testing.assert_array_equal(success, free <= (RADII[norm] * share)[:, None])


# A network with curvature: tanh layer, four classes. Two labels are wrong from the start.
_rng = np.random.default_rng(6)
WEIGHTS = {
    "hidden": _rng.normal(0, 1.0, (D, 8)).astype(np.float32),
    "bias": _rng.normal(0, 0.3, 8).astype(np.float32),
    "out": _rng.normal(0, 1.5, (8, 4)).astype(np.float32),
}
IMAGES = np.clip(_rng.normal(0.5, 0.4, (9, *SHAPE)), 0, 1).astype(np.float32)


def network(weights, images):
    hidden = jnp.tanh(images.reshape(len(images), -1) @ weights["hidden"] + weights["bias"][None])
    return hidden @ weights["out"]


logits_fn = partial(network, WEIGHTS)
LABELS = np.asarray(logits_fn(IMAGES)).argmax(1).astype(np.int32)
LABELS[[2, 5]] = (LABELS[[2, 5]] + 1) % 4
STEPS = 10


@pytest.fixture(scope="module")
def compiled():
    """norm → untargeted `fab` on the network, jitted once for all tests."""

    def build(norm):
        def run(images, labels, key, epsilon, restarts):
            return fab(logits_fn, images, labels, epsilon=epsilon, key=key, norm=norm, steps=STEPS, restarts=restarts)

        return jax.jit(run)

    return {norm: build(norm) for norm in NORMS}


@pytest.mark.parametrize("norm", NORMS)
def test_result_keeps_its_promises(compiled, norm):
    everything = compiled[norm](IMAGES, LABELS, KEY, 100.0, 1)
    assert everything.success.all()
    epsilon = np.median(-np.asarray(everything.loss))
    result = compiled[norm](IMAGES, LABELS, KEY, epsilon, 1)
    success, images = np.asarray(result.success), np.asarray(result.images)
    lengths = np.asarray(distance(images - IMAGES, norm))

    np.testing.assert_array_equal(result.loss, everything.loss)  # the radius plays no part in the search
    np.testing.assert_array_equal(success, -np.asarray(result.loss) <= epsilon)
    assert 0 < success.sum() < len(success)
    np.testing.assert_array_equal(images[~success], IMAGES[~success])
    np.testing.assert_array_equal(images[success], everything.images[success])
    np.testing.assert_allclose(lengths[success], -result.loss[success], rtol=1e-5)
    assert (np.asarray(logits_fn(images)).argmax(1) != LABELS)[success].all()
    assert images.min() >= 0 and images.max() <= 1
    assert not np.any(np.asarray(result.last_success) & ~success) and np.any(result.last_success)
    np.testing.assert_array_equal(result.queries, 2 * STEPS)
    assert (result.images.dtype, result.loss.dtype, result.queries.dtype) == (np.float32, np.float32, np.int32)


@pytest.mark.parametrize("norm", NORMS)
def test_the_radius_is_closed(compiled, norm):
    """A distance equal to the radius is a success, the next larger one is none."""
    lengths = -np.asarray(compiled[norm](IMAGES, LABELS, KEY, 1.0, 1).loss)
    length = np.median(lengths)
    at, below = (
        np.asarray(compiled[norm](IMAGES, LABELS, KEY, radius, 1).success)
        for radius in (length, np.nextafter(length, np.float32(0)))
    )
    np.testing.assert_array_equal(at & ~below, lengths == length)


@pytest.mark.parametrize("norm", NORMS)
def test_inputs_that_are_wrong_already(compiled, norm):
    result = compiled[norm](IMAGES, LABELS, KEY, 0.0, 1)
    np.testing.assert_array_equal(np.flatnonzero(result.success), [2, 5])
    np.testing.assert_array_equal(result.images, IMAGES)
    np.testing.assert_array_equal(result.loss[np.array([2, 5])], 0)
    assert np.all(np.isfinite(result.loss))


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_add_to_the_first_run(compiled, norm):
    once, twice, five = (compiled[norm](IMAGES, LABELS, KEY, RADII[norm], n) for n in (1, 2, 5))
    for few, more in ((once, twice), (twice, five)):
        assert np.min(more.loss - few.loss) >= 0
        assert np.all(more.success >= few.success) and np.all(more.last_success >= few.last_success)
    assert np.max(five.loss - once.loss) > 0
    np.testing.assert_array_equal(five.queries, 10 * STEPS)


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_begin_half_a_radius_away(norm):
    grey = jnp.full((40, *SHAPE), 0.5)
    keys = per_example_keys(KEY, 40)
    starts = halfway(keys, grey, 0.4, norm)
    np.testing.assert_allclose(distance(starts - grey, norm), 0.2, rtol=1e-5)
    assert len(np.unique(starts, axis=0)) == 40
    edge = halfway(keys, jnp.zeros_like(grey), 1.0, norm)
    assert edge.min() == 0 and np.mean(edge > 0) < 0.7


@pytest.mark.parametrize("norm", NORMS)
def test_neighbours_do_not_matter(compiled, norm):
    """Same bits whatever else the batch holds; up to rounding the same in a batch of another size."""
    whole = compiled[norm](IMAGES, LABELS, KEY, RADII[norm], 2)
    strangers = 1 - IMAGES
    strangers[3] = IMAGES[3]
    mixed = compiled[norm](strangers, LABELS, KEY, RADII[norm], 2)
    for field, other in zip(whole, mixed, strict=True):
        np.testing.assert_array_equal(field[3], other[3])

    if norm == "l2":
        rows = slice(2, 7)
        part = compiled[norm](IMAGES[rows], LABELS[rows], per_example_keys(KEY, len(IMAGES))[rows], RADII[norm], 2)
        np.testing.assert_allclose(part.loss, whole.loss[rows], atol=1e-4)


def test_any_wrong_class_counts():
    """On the way to class 2, whose boundary is at 0.7, the first pixel crosses that of class 1 at 0.6."""

    def three(images):
        pixel = images[:, 0, 0, 0]
        return jnp.stack([jnp.zeros_like(pixel), pixel - 0.6, 2 * pixel - 1.4], axis=1)

    grey = jnp.full((1, *SHAPE), 0.5)
    attack = partial(fab, three, grey, jnp.array([0]), epsilon=0.2, key=KEY, norm="l2", steps=3)
    result = jax.jit(attack)(targets=jnp.array([2]))
    assert result.success[0] and jnp.argmax(three(result.images)) == 1
    assert -0.19 < result.loss[0] < -0.1


def constant(images):
    return jnp.zeros((len(images), 4)).at[:, 1].set(1.0) + 0 * images.sum()


def broken(images):
    """Right values, but every gradient is NaN: that of a square root at 0."""
    return logits_fn(images) + jnp.sqrt(0.0 * images.sum((1, 2, 3)))[:, None]


@pytest.mark.parametrize(
    ("model", "targeted", "norm"),
    [
        (constant, True, "linf"),
        (constant, True, "l2"),
        (constant, False, "l1"),
        (broken, True, "l1"),
        (broken, False, "linf"),
        (broken, False, "l2"),
    ],
)
def test_useless_gradients_do_no_harm(model, targeted, norm):
    predictions = np.asarray(model(IMAGES)).argmax(1)
    targets = jnp.asarray((LABELS + 1) % 4) if targeted else None
    attack = partial(fab, model, epsilon=0.1, key=KEY, norm=norm, steps=3, targets=targets)
    result = jax.jit(attack)(IMAGES, LABELS)
    np.testing.assert_array_equal(result.success, predictions != LABELS)
    np.testing.assert_array_equal(result.images, IMAGES)
    np.testing.assert_array_equal(result.loss, np.where(predictions != LABELS, 0.0, -np.inf))


def test_no_gradient_flows():
    """Neither through images nor radii nor weights that the model closes over."""

    def everything(weights, images, epsilon):
        result = fab(partial(network, weights), images, LABELS, epsilon=epsilon, key=KEY, steps=2)
        return result.loss.sum() + result.images.sum()

    for gradient in jax.tree.leaves(jax.jit(jax.grad(everything, argnums=(0, 1, 2)))(WEIGHTS, IMAGES, 0.1)):
        assert not np.any(gradient)


def test_no_images():
    result = fab(logits_fn, IMAGES[:0], LABELS[:0], epsilon="8/255", key=KEY, targets=LABELS[:0])
    chex.assert_shape([result.success, result.loss, result.queries, result.last_success], (0,))
    chex.assert_shape(result.images, (0, *SHAPE))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"norm": "l7"}, "unknown norm 'l7'; expected one of linf, l2, l1"),
        ({"epsilon": "eight"}, "cannot read 'eight'"),
        ({"epsilon": 8}, "'8/255' meant"),
        ({"epsilon": -1, "norm": "l1"}, "at least 0, got -1"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"restarts": 0}, "restarts must be a whole number of at least 1, got 0"),
        *(({"alpha_max": value}, "alpha_max must be a finite number") for value in ("0.1", np.nan, None)),
        ({"eta": np.inf}, "eta must be a finite number"),
        ({"alpha_max": 1.5}, r"alpha_max must be a finite number in \[0, 1\], got 1.5"),
        ({"beta": -0.1}, r"beta must be a finite number in \[0, 1\], got -0.1"),
        ({"targets": LABELS[:3]}, r"targets must be integers of shape \(9,\).*got int32 of shape \(3,\)"),
        ({"targets": np.ones(9, np.float32)}, "got float32 of shape"),
        ({"key": 0}, "typed key"),
        ({"images": (255 * IMAGES).astype(np.uint8)}, "images / 255"),
        ({"labels": np.eye(4, dtype=np.int32)[LABELS]}, "argmax"),
        ({"logits_fn": lambda images: logits_fn(images)[:, 0]}, r"must return \[N, K\] logits .* gave shape \(1,\)"),
        ({"logits_fn": lambda images: logits_fn(images)[:, :1]}, "at least 2 classes, got num_classes=1"),
    ],
)
def test_refusals(change, words):
    inputs = {"logits_fn": logits_fn, "images": IMAGES, "labels": LABELS}
    with pytest.raises(ValueError, match=words):
        fab(**inputs | {"epsilon": 0.1, "key": KEY, "steps": 1} | change)
