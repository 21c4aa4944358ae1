"""Radii as users write them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.attacks import radius
from rnas.attacks.epsilon_parsing import ball_radius


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8/255", 8 / 255),
        (" 8 / 255 ", 8 / 255),
        ("0.5/255", 0.5 / 255),
        ("0.03", 0.03),
        (0, 0.0),
        (np.float32(0.5), 0.5),
    ],
)
def test_reads(value, expected):
    assert radius(value) == expected and type(radius(value)) is float


@pytest.mark.parametrize(
    "value", ["", "eight", "8/", "8/0", "1/2/3", "-8/255", -0.1, "nan", float("inf"), None, [1, 2], True]
)
def test_refuses_with_the_value_and_an_example(value):
    with pytest.raises(ValueError, match="8/255") as error:
        radius(value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_arrays_are_read_like_numbers(array):
    assert radius(array(np.float32(0.125))) == ball_radius(array(np.float32(0.125)), "linf") == 0.125
    for value, words in (
        (np.nan, "finite"),
        (-0.03, "at least 0"),
        ([0.1, 0.1, 0.1], r"shape \(3,\)"),
        ([0.1], "one number"),
    ):
        with pytest.raises(ValueError, match=words):
            radius(array(np.float32(value)))
    with pytest.raises(ValueError, match="is '8/255' meant"):
        ball_radius(array(8), "linf")


def test_only_what_is_traced_passes_unread():
    assert np.isnan(jax.jit(lambda value: ball_radius(value, "linf"))(jnp.nan))
    assert jax.jit(lambda: radius(jnp.float32(0.5)) == 0.5)()
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        jax.jit(radius)(jnp.ones(3))


def test_whole_range_is_the_largest_linf_ball():
    assert ball_radius("255/255", "linf") == 1.0
    assert ball_radius(8, "l2") == 8.0
    with pytest.raises(ValueError, match="is '8/255' meant"):
        ball_radius(8, "linf")


def test_other_norms():
    with pytest.raises(ValueError, match="APGD"):
        ball_radius(1, "l1")
    with pytest.raises(ValueError, match="expected one of linf, l2, l1"):
        ball_radius(0.1, "Linf")
