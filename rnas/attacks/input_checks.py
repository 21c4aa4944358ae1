"""Refuses inputs on which an attack would run and mean nothing.

`check_inputs` looks at values, on the host; the other checks look at types and shapes alone, so also while tracing. All
raise ValueError.
"""

import jax
import jax.numpy as jnp
import numpy as np

from rnas.attacks.result import Array

SLACK = 1e-6  # rounding allowed beyond [0, 1]


def check_types(images: Array, labels: Array) -> None:
    """Refuses `images` that are not float [N, H, W, C] and `labels` that are not integers [N]."""
    if images.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"images must be float32 with pixels in [0, 1], got {images.dtype}; for uint8 use images / 255."
        )
    if images.ndim != 4:
        raise ValueError(f"images must have shape [N, H, W, C], got {images.shape}.")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}.")
    if labels.shape != images.shape[:1]:
        hint = " One-hot labels? Use labels.argmax(-1)." if labels.ndim == 2 else ""
        raise ValueError(f"labels must have shape ({len(images)},), one per image; got {labels.shape}.{hint}")


def check_targets(targets: jax.Array, labels: jax.Array) -> None:
    """Refuses target classes that are not integers [N]."""
    if targets.shape != labels.shape or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"targets must be integers of shape {labels.shape}, one class per image; "
            f"got {targets.dtype} of shape {targets.shape}."
        )


def check_logits(logits: jax.Array, images: jax.Array) -> None:
    """Refuses logits of `images` [N, ...] that are not [N, K]."""
    if logits.ndim != 2 or len(logits) != len(images):
        raise ValueError(f"logits_fn must return [{len(images)}, K] logits; got shape {logits.shape}.")


def check_count(name: str, value: int | jax.Array, *, least: int) -> None:
    """Refuses a `value`, unless it is traced, that is not a whole number of at least `least`."""
    if not isinstance(value, jax.Array) and (int(value) != value or value < least):
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")


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
