"""Direct calls: what is refused, what is compiled once, and that tracing is left alone."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
from problems import KEY, linear, linear_problems
import pytest

from rnas.attacks import cw, fgsm, mim, pgd
from rnas.attacks.direct import compiled, count_classes
from rnas.attacks.random_start import per_example_keys

ROOT = Path(__file__).resolve().parents[2]

CLASSES = 3
_models, _images, _labels, _ = linear_problems(CLASSES, count=2, examples=4)
WEIGHTS, OTHER_WEIGHTS = _models
IMAGES, LABELS = _images[0], _labels[0]
QUICK = {"epsilon": 0.1, "key": KEY, "steps": 2}


class Watched:
    """A linear model that notes how often it is traced with a batch; looking up K traces it with one image."""

    def __init__(self, weights=WEIGHTS):
        self.weights, self.traces = weights, 0

    def __call__(self, images):
        self.traces += len(images) == len(IMAGES)
        return linear(self.weights, images)


@dataclass
class Unhashable(Watched):
    """Compares by value and therefore has no hash; comparing the arrays would raise."""

    weights: np.ndarray
    traces: int = 0

    __call__ = Watched.__call__


def replaced(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 2 * IMAGES}, r"must lie in \[0, 1\].*image 0; make normalisation"),
        ({"images": replaced(255 * IMAGES, 0, 0)}, r"outside is in image 1; divide by 255"),
        ({"images": replaced(IMAGES, (2, 0, 0, 0), np.nan)}, "must be finite.*first image 2"),
        ({"images": IMAGES[0]}, r"shape \[N, H, W, C\], got \(2, 3, 2\)"),
        ({"images": (255 * IMAGES).astype(np.uint8)}, "uint8 use images / 255"),
        ({"labels": replaced(LABELS, 1, CLASSES)}, r"lie in \[0, 3\), but label 1 is 3"),
        ({"labels": replaced(LABELS, 3, -1)}, "label 3 is -1"),
        ({"labels": LABELS[:2]}, r"shape \(4,\), one per image; got \(2,\)"),
        ({"labels": LABELS.astype(np.float32)}, "labels must be integers"),
        ({"labels": LABELS[:, None]}, r"got \(4, 1\). Use labels.reshape\(-1\)."),
        ({"labels": LABELS[None]}, r"got \(1, 4\). Use labels.reshape\(-1\)."),
        ({"labels": np.eye(CLASSES)[LABELS]}, r"integers, got float64. One-hot labels\? Use labels.argmax\(-1\)."),
        ({"logits_fn": lambda images: linear(WEIGHTS, images)[:, :1]}, "num_classes=1"),
        ({"logits_fn": lambda images: images}, r"\[N, K\] logits.*one image it gave shape \(1, 2, 3, 2\)"),
        ({"logits_fn": lambda images: {"logits": linear(WEIGHTS, images)}}, "it gave dict"),
        ({"epsilon": "eight"}, "cannot read 'eight'"),
        *(({"epsilon": array(8)}, "'8/255' meant") for array in (int, np.float32, jnp.float32)),
        *(({"epsilon": array(np.nan)}, "finite and at least 0") for array in (float, np.float32, jnp.float32)),
        ({"epsilon": jnp.float32(-0.03)}, "finite and at least 0"),
        *(({"epsilon": array([0.1, 0.1])}, r"one number.*shape \(2,\)") for array in (np.array, jnp.array)),
        ({"epsilon": True}, "cannot read True"),
        ({"step_size": "1/0"}, "cannot read '1/0'"),
        ({"step_size": jnp.float32(2)}, "step_size=2 exceeds the range of pixels"),
        ({"step_size": jnp.array([0.1])}, "one number"),
        *(({"steps": steps}, "steps must be a whole number") for steps in (3.0, "3", None, True, jnp.float32(3))),
        *(({"steps": steps}, "steps must be a whole number") for steps in (np.array([3]), jnp.array([3]))),
        ({"restarts": 2.0}, "restarts must be a whole number"),
        *(({"momentum": value}, "momentum must be a finite number") for value in ("0.9", -1.0, np.nan, [0.9])),
        ({"start": ["uniform"]}, r"start must be one value, got \['uniform'\]"),
        ({"norm": ["linf"]}, "unknown norm"),
        ({"key": 0}, "typed key.*got int"),
        ({"key": jax.random.split(KEY, 3)}, r"one key or 4, one per example; got shape \(3,\)"),
        ({"norm": "l1"}, "APGD"),
    ],
)
@pytest.mark.parametrize("attack", [pgd, mim])
def test_refusals(attack, change, words):
    inputs = {"logits_fn": partial(linear, WEIGHTS), "images": IMAGES, "labels": LABELS}
    with pytest.raises(ValueError, match=words):
        attack(**inputs | QUICK | change)


def test_values_are_not_looked_at_while_tracing():
    """But types are."""
    attack = jax.jit(partial(pgd, Watched(), epsilon=0.1, key=KEY, steps=1))
    assert np.all(np.isfinite(attack(2 * IMAGES, LABELS).loss))
    with pytest.raises(ValueError, match="images / 255"):
        attack((255 * IMAGES).astype(np.uint8), LABELS)


def test_one_compilation_for_numbers_and_keys():
    model = Watched()
    attack = partial(pgd, model, IMAGES, LABELS, steps=3)
    first = attack(epsilon=0.1, key=KEY, step_size=0.01)
    assert model.traces > 0
    once = model.traces
    attack(epsilon="25.5/255", key=jax.random.key(3), step_size="2/255")
    attack(epsilon=np.float32(0.2), key=KEY, step_size=jnp.float32(0.1))
    attack(epsilon=jnp.float32(0), key=per_example_keys(KEY, 4), step_size=0)
    pgd(model, jnp.asarray(1 - IMAGES), jnp.asarray(LABELS), epsilon=0.1, key=KEY, step_size=0.02, steps=jnp.int32(3))
    assert model.traces == once
    chex.assert_trees_all_equal(first, attack(epsilon="25.5/255", key=KEY, step_size="0.01"))
    assert model.traces == once


@pytest.mark.parametrize(("attack", "name"), [(mim, "momentum"), (cw, "kappa")])
def test_other_numbers_make_no_program(attack, name):
    model = Watched()
    results = [attack(model, IMAGES, LABELS, **QUICK, **{name: value}) for value in (0.1, 1.0, jnp.float32(1.0))]
    once = model.traces
    attack(model, IMAGES, LABELS, **QUICK, **{name: 3.0})
    assert model.traces == once
    chex.assert_trees_all_equal(*results[1:])
    assert name == "momentum" or not np.array_equal(results[0].loss, results[1].loss)


def test_what_makes_another_program():
    model = Watched()
    attack = partial(pgd, model, IMAGES, LABELS, epsilon=0.1, key=KEY)
    settings = [{"steps": 2}, {"steps": 3}, {"steps": 2, "norm": "l2"}, {"steps": 2, "loss": "margin"}]
    seen = []
    for change in settings:
        attack(**change)
        seen.append(model.traces)
    assert np.all(np.diff([0, *seen]) > 0)
    for change in settings:
        attack(**change)
    assert model.traces == seen[-1]
    other = Watched(OTHER_WEIGHTS)
    found, expected = (attack.func(m, IMAGES, LABELS, **QUICK) for m in (other, partial(linear, OTHER_WEIGHTS)))
    assert other.traces > 0
    chex.assert_trees_all_equal(found, expected)
    assert not np.array_equal(found.loss, attack(steps=2).loss)


def test_functions_without_a_hash():
    """CachedOutputs apart by what they are, although nothing about them may be compared."""
    one, other = Unhashable(WEIGHTS), Unhashable(OTHER_WEIGHTS)
    for model in (one, other):
        with pytest.raises(TypeError):
            hash(model)
        result = pgd(model, IMAGES, LABELS, **QUICK)
        once = model.traces
        assert once > 0
        chex.assert_trees_all_equal(result, pgd(model, IMAGES, LABELS, **QUICK))
        assert model.traces == once
        chex.assert_trees_all_equal(result, pgd(partial(linear, model.weights), IMAGES, LABELS, **QUICK))


@pytest.mark.parametrize(
    ("attack", "settings"),
    [(fgsm, {}), (pgd, {"steps": 3, "restarts": 2, "norm": "l2"}), (mim, {"steps": 3, "momentum": 0.7})],
)
def test_equals_the_bare_attack(attack, settings):
    """Bit for bit what the undecorated function gives under `jax.jit`."""
    model = partial(linear, WEIGHTS)
    numbers = {name: settings[name] for name in settings if name == "momentum"}
    fixed = {name: settings[name] for name in settings if name not in numbers}

    @jax.jit
    def bare(images, labels, key, epsilon, numbers):
        return attack.__wrapped__(model, images, labels, epsilon=epsilon, key=key, **fixed, **numbers)

    expected = bare(IMAGES, LABELS, KEY, np.float32(8 / 255), numbers)
    for images, labels in ((IMAGES, LABELS), (jnp.asarray(IMAGES), LABELS.astype(np.int64)), (IMAGES, list(LABELS))):
        chex.assert_trees_all_equal(attack(model, images, labels, epsilon="8/255", key=KEY, **settings), expected)
    assert len(set(np.asarray(expected.loss).tolist())) == 4


@pytest.mark.parametrize("around", ["jit", "vmap", "jit over weights", "vmap over weights", "grad"])
def test_called_while_tracing(around):
    attack = partial(pgd, labels=LABELS, **QUICK)
    expected = attack(partial(linear, WEIGHTS), IMAGES)
    if around == "jit":
        result = jax.jit(lambda images: attack(partial(linear, WEIGHTS), images))(IMAGES)
    elif around == "vmap":
        result = jax.vmap(lambda images: attack(partial(linear, WEIGHTS), images))(jnp.stack([1 - IMAGES, IMAGES]))
        result = jax.tree.map(lambda leaf: leaf[1], result)
    elif around == "jit over weights":
        result = jax.jit(lambda weights: attack(partial(linear, weights), IMAGES))(WEIGHTS)
    elif around == "vmap over weights":
        result = jax.vmap(lambda weights: attack(partial(linear, weights), IMAGES))(_models)
        result = jax.tree.map(lambda leaf: leaf[0], result)
    else:
        gradient = jax.grad(lambda weights: attack(partial(linear, weights), IMAGES).loss.sum())(WEIGHTS)
        assert not np.any(gradient)
        return
    chex.assert_trees_all_close(result, expected, atol=1e-6)


def test_compiled_is_kept():
    def program(logits_fn, images, offset):
        return logits_fn(images) + offset

    one, other = Unhashable(WEIGHTS), Unhashable(WEIGHTS)
    assert compiled(program, one) is compiled(program, one)
    assert compiled(program, one) is not compiled(program, other)
    np.testing.assert_allclose(compiled(program, one)(IMAGES, 1.0), linear(WEIGHTS, IMAGES) + 1, rtol=1e-5)
    compiled(program, one)(IMAGES, 2.0)
    assert (one.traces, other.traces) == (1, 0)


def test_count_classes():
    assert count_classes(partial(linear, WEIGHTS), IMAGES) == CLASSES
    assert count_classes(Unhashable(WEIGHTS), IMAGES[:0]) == CLASSES
    assert count_classes(lambda images, key: jax.random.normal(key, (len(images), 7)), IMAGES, KEY) == 7

    def never_run(images):
        return jax.pure_callback(pytest.fail, jax.ShapeDtypeStruct((len(images), 4), jnp.float32), images)

    assert count_classes(never_run, IMAGES) == 4
    with pytest.raises(ValueError, match=r"for one image it gave shape \(3,\)"):
        count_classes(lambda images: linear(WEIGHTS, images)[0], IMAGES)
    with pytest.raises(ValueError, match="it gave tuple"):
        count_classes(lambda images: (linear(WEIGHTS, images), images), IMAGES)


def test_the_attacks_need_nothing_but_jax_and_numpy():
    """So that they serve people who use Equinox, NNX, Haiku or Keras alone."""
    heavy = ("flax", "optax", "orbax", "tensorflow_datasets", "matplotlib", "ml_collections", "pydantic", "scipy.stats")
    program = f"import sys, rnas.attacks; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
