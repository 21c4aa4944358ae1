"""Norms, radii and step sizes as users write them."""

import math
from typing import overload

import jax

NORMS = ("linf", "l2", "l1")


@overload
def radius(value: str | float) -> float: ...
@overload
def radius(value: jax.Array) -> jax.Array: ...
def radius(value):
    """Reads a length in pixel units (pixels lie in [0, 1]).

    Args:
      value: a fraction such as `"8/255"`, a number such as `"0.03"` or `0.03`, or a JAX array, which may be
        traced and is returned as it is, unchecked.

    Raises:
      ValueError: if `value` cannot be read, is negative, or is not finite.
    """
    if isinstance(value, jax.Array):
        return value
    try:
        numerator, *denominator = value.split("/") if isinstance(value, str) else (value,)
        length = float(numerator)
        if denominator:
            (below,) = map(float, denominator)
            length /= below
    except (TypeError, ValueError, ZeroDivisionError):
        raise ValueError(f"cannot read {value!r} as a length; write '8/255', '0.03' or a number.") from None
    if not math.isfinite(length) or length < 0:
        raise ValueError(f"a length must be finite and at least 0, got {value!r}; write for example '8/255'.")
    return length


def check_norm(norm: str) -> None:
    """Raises ValueError for an unknown norm."""
    if norm not in NORMS:
        raise ValueError(f"unknown norm {norm!r}; expected one of {', '.join(NORMS)}.")


@overload
def pixel_radius(epsilon: str | float, norm: str) -> float: ...
@overload
def pixel_radius(epsilon: jax.Array, norm: str) -> jax.Array: ...
def pixel_radius(epsilon, norm):
    """Reads the radius of a ball in `norm`, in pixel units.

    Raises:
      ValueError: if the norm is unknown, if `epsilon` cannot be read, or if it exceeds 1 in Linf, where the
        ball already holds every image.
    """
    check_norm(norm)
    epsilon = radius(epsilon)
    if norm == "linf" and not isinstance(epsilon, jax.Array) and epsilon > 1:
        raise ValueError(f"epsilon={epsilon:g} exceeds the range of pixels, [0, 1]; is '{epsilon:g}/255' meant?")
    return epsilon
