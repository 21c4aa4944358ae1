"""Norms, radii and step sizes as users write them. What cannot be used raises ValueError."""

import math
from typing import Any, overload

import jax

Length = str | float | jax.Array  # a fraction such as "8/255", a number, or an array without axes, perhaps traced
NORMS = ("linf", "l2", "l1")


def is_traced(tree: Any) -> bool:
    """Whether a leaf of the pytree is traced, so that its value cannot be read."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


@overload
def radius(value: str | float) -> float: ...
@overload
def radius(value: jax.Array) -> float | jax.Array: ...
def radius(value):
    """Reads a length in pixel units (pixels lie in [0, 1]).

    The `value` is a fraction such as `"8/255"`, a number such as `"0.03"` or `0.03`, also as an array without axes. A
    traced one is returned as it is, unread. One that cannot be read, is negative or not finite raises ValueError.
    """
    if getattr(value, "ndim", 0):
        raise ValueError(f"a length is one number for all images, got an array of shape {value.shape}; write '8/255'.")
    if is_traced(value):
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
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


def pixel_radius(epsilon: Length, norm: str, name: str = "epsilon") -> float | jax.Array:
    """Reads the radius of a ball in `norm`, or another length; in Linf, where radius 1 holds every image, at most 1."""
    check_norm(norm)
    epsilon = radius(epsilon)
    if norm == "linf" and not is_traced(epsilon) and epsilon > 1:
        raise ValueError(f"{name}={epsilon:g} exceeds the range of pixels, [0, 1]; is '{epsilon:g}/255' meant?")
    return epsilon


def ball_radius(epsilon: Length, norm: str) -> float | jax.Array:
    """Reads the radius of a ball in a norm whose steps are signs or normalised gradients, 'linf' or 'l2'."""
    if norm == "l1":
        raise ValueError(
            "norm='l1' needs APGD with its sparse steps (Croce & Hein 2021, arXiv 2103.01208), because dense "
            "gradient steps are far too weak there; this attack works in 'linf' and 'l2'."
        )
    return pixel_radius(epsilon, norm)
