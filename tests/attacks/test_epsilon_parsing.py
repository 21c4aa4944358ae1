"""Radii as users write them."""

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
    "value", ["", "eight", "8/", "8/0", "1/2/3", "-8/255", -0.1, "nan", float("inf"), None, [1, 2]]
)
def test_refuses_with_the_value_and_an_example(value):
    with pytest.raises(ValueError, match="8/255") as error:
        radius(value)
    assert repr(value) in str(error.value)


def test_arrays_pass():
    value = jnp.float32(0.1)
    assert radius(value) is value


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
