"""Refuses inputs on which an attack would run and mean nothing.

`check_inputs` looks at images and labels, on the host; the other checks work while tracing too, where they look at
types and shapes alone. All raise ValueError.
"""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnas.attacks.epsilon_parsing import is_traced
from rnas.attacks.result import Array

SLACK = 1e-6  # rounding allowed beyond [0, 1]
LARGEST_SEED = 2**32 - 1


def check_types(images: Array, labels: Array) -> None:
    """Refuses `images` that are not float [N, H, W, C] and `labels` that are not integers [N]."""
    if images.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"images must be float32 with pixels in [0, 1], got {images.dtype}; for uint8 use images / 255."
        )
    if images.ndim != 4:
        raise ValueError(f"images must have shape [N, H, W, C], got {images.shape}.")
    hint = ""
    if labels.size == len(images) and labels.ndim > 1:
        hint = " Use labels.reshape(-1)."  # argmax(-1) of one column is 0 everywhere
    elif labels.ndim == 2 and len(labels) == len(images):
        hint = " One-hot labels? Use labels.argmax(-1)."
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}.{hint}")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels must have shape ({len(images)},), one per image; got {labels.shape}.{hint}")


def check_targets(targets: jax.Array, labels: jax.Array) -> None:
    """Refuses target classes that are not integers [N]."""
    if targets.shape != labels.shape or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"targets must be integers of shape {labels.shape}, one class per image; "
            f"got {targets.dtype} of shape {targets.shape}."
        )


def check_count(name: str, value: Any, *, least: int, most: int | None = None) -> None:
    """Refuses a `value` that is not a whole number from `least` to `most`; of a traced one only its type is read."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        if is_traced(value):
            wrong = value.ndim or not jnp.issubdtype(value.dtype, jnp.integer)
        else:
            number = operator.index(value)
            wrong = number < least or most is not None and number > most
    except TypeError:  # 2.0 is none either: it would fail deep inside a loop
        wrong = True
    if wrong:
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {bounds}, got {value!r}.")


def check_seed(seed: Any) -> None:
    """Refuses a seed beyond 32 bits, of which JAX would drop the others in silence: 2³² would draw what 0 draws."""
    check_count("seed", seed, least=0, most=LARGEST_SEED)


def check_number(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> None:
    """Refuses a `value`, unless it is traced, that is not a finite number from `least` to `most`."""
    if is_traced(value):
        return
    try:
        wrong = isinstance(value, bool) or bool(getattr(value, "ndim", 0))
        wrong = wrong or not math.isfinite(value) or not least <= value <= most
    except TypeError:
        wrong = True
    if wrong:
        bounds = f" in [{least:g}, {most:g}]" if math.isfinite(most) else f" of at least {least:g}"
        raise ValueError(f"{name} must be a finite number{bounds if math.isfinite(least) else ''}, got {value!r}.")


def check_inputs(images: Array, labels: Array, num_classes: int) -> None:
    """Checks types and values on the host, before anything is attacked.

    Images, float32 [N, H, W, C], must lie in [0, 1] up to 1e-6, labels, integers [N], in [0, `num_classes`), of which
    there are at least 2. The ValueError names the first image or label at fault and what to do about it.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    check_types(images, labels)
    if num_classes < 2:
        raise ValueError(f"an attack needs at least 2 classes, got num_classes={num_classes}.")

    pixel_axes = (1, 2, 3)
    bad = np.flatnonzero(~np.isfinite(images).all(axis=pixel_axes))
    if bad.size:
        raise ValueError(
            f"images must be finite, but {bad.size} of {len(images)} are not, first image {bad[0]}; "
            "look at how they were loaded."
        )
    bad = np.flatnonzero(((images < -SLACK) | (images > 1 + SLACK)).any(axis=pixel_axes))
    if bad.size:
        low, high = images.min(), images.max()
        hint = "divide by 255" if low >= 0 and high > 2 else "make normalisation the first layer of the model"
        raise ValueError(
            f"pixels must lie in [0, 1], but these span [{low:.4g}, {high:.4g}]; "
            f"the first outside is in image {bad[0]}; {hint}."
        )
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if bad.size:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), but label {bad[0]} is {labels[bad[0]]}; "
            "does the model have as many classes as the data?"
        )
