"""Norms, radii and step sizes as users write them. What cannot be used raises ValueError."""

import math
from typing import overload

import jax

Length = str | float | jax.Array  # a fraction such as "8/255", a number, or an array, which may be traced
NORMS = ("linf", "l2", "l1")


@overload
def radius(value: str | float) -> float: ...
@overload
def radius(value: jax.Array) -> jax.Array: ...
def radius(value):
    """Reads a length in pixel units (pixels lie in [0, 1]).

    The `value` is a fraction such as `"8/255"`, a number such as `"0.03"` or `0.03`, or a JAX array, which may be
    traced and is returned as it is, unchecked. One that cannot be read, is negative or not finite raises ValueError.
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
    """Refuses an unknown norm."""
    if norm not in NORMS:
        raise ValueError(f"unknown norm {norm!r}; expected one of {', '.join(NORMS)}.")


def pixel_radius(epsilon: Length, norm: str) -> float | jax.Array:
    """Reads the radius of a ball in `norm`; in Linf, where a ball of radius 1 holds every image, at most 1."""
    check_norm(norm)
    epsilon = radius(epsilon)
    if norm == "linf" and not isinstance(epsilon, jax.Array) and epsilon > 1:
        raise ValueError(f"epsilon={epsilon:g} exceeds the range of pixels, [0, 1]; is '{epsilon:g}/255' meant?")
    return epsilon


def ball_radius(epsilon: Length, norm: str) -> float | jax.Array:
    """Reads the radius of a ball in a norm whose steps are signs or normalised gradients, 'linf' or 'l2'."""
    if norm == "l1":
        raise ValueError(
            "norm='l1' needs APGD with its sparse steps (Croce & Hein 2021, arXiv 2103.01208), because dense "
            "gradient steps are far too weak there; this attack works in 'linf' and 'l2'."
        )
    return pixel_radius(epsilon, norm)
