"""What a model answers: what is refused, what NaN predicts, and in which type losses and verdicts are computed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from problems import KEY, linear, linear_problems
import pytest

from rnas.attacks import apgd, auto_attack, cw, fab, fgsm, mim, pgd, square
from rnas.attacks.logits import predictions, run_model
from rnas.attacks.measurements import random_noise
from rnas.attacks.verdict import judge_once

WEIGHTS, IMAGES, LABELS = (array[0] for array in linear_problems(3, count=1, examples=4)[:3])
SHORT = {
    "fgsm": fgsm, "pgd": partial(pgd, steps=2), "mim": partial(mim, steps=2), "cw": partial(cw, steps=2),
    "apgd": partial(apgd, steps=2), "fab": partial(fab, steps=2), "square": partial(square, queries=2),
}  # fmt: skip


def broken(images):
    return linear(WEIGHTS, images) * jnp.nan


def test_nan_predicts_nothing():
    logits = jnp.array([[0.0, 1.0, 1.0], [jnp.nan] * 3, [jnp.nan, 5.0, 0.0], [0.0, -jnp.inf, jnp.inf], [-jnp.inf] * 3])
    np.testing.assert_array_equal(predictions(logits), [1, -1, -1, 2, 0])


@pytest.mark.parametrize("attack", [*SHORT.values(), auto_attack, random_noise], ids=[*SHORT, "auto_attack", "noise"])
def test_nan_is_never_right(attack):
    """Its argmax is 0, the label of every image here."""
    result = attack(broken, IMAGES, 0 * LABELS, epsilon=0.1, key=KEY)
    np.testing.assert_array_equal(result.success, True)
    assert np.isfinite(result.images).all()


def test_nan_is_never_judged_right():
    found = judge_once(broken, IMAGES, 0 * LABELS, None, None, None)
    np.testing.assert_array_equal(found["wrong"], True)
    np.testing.assert_array_equal(found["prediction"], -1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("attack", SHORT.values(), ids=SHORT)
def test_shorter_logits_are_judged_in_float32(attack, dtype):
    def model(images):
        return linear(WEIGHTS.astype(dtype), images.astype(dtype))

    def widened(images):
        return model(images).astype(jnp.float32)

    inputs = IMAGES, LABELS
    found, expected = (attack(one, *inputs, epsilon=0.1, key=KEY) for one in (model, widened))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert found.loss.dtype == jnp.float32 == judge_once(model, *inputs, None, None, None)["margin"].dtype


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.complex64])
@pytest.mark.parametrize("attack", [*SHORT.values(), auto_attack], ids=[*SHORT, "auto_attack"])
def test_logits_without_a_gradient_are_refused(attack, dtype):
    def model(images):
        return linear(WEIGHTS, images).astype(dtype)

    with pytest.raises(ValueError, match="floating-point logits, got"):
        attack(model, IMAGES, LABELS, epsilon=0.1, key=KEY)
    with pytest.raises(ValueError, match="floating-point logits, got"):
        run_model(model, IMAGES)
