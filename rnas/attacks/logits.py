"""What a model answers: its logits, and the classes that they predict."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def run_model(logits_fn: Callable[..., jax.Array], images: jax.Array, *keys: jax.Array) -> jax.Array:
    """Returns the logits [N, K] of `images` [N, H, W, C]; with `keys` [N], those of a model that draws random numbers.

    Such a model takes (images, key). Each image is a batch of its own with its own key, so that what is drawn for it
    does not depend on the other images of the batch. Shorter floats become float32, in which all losses and verdicts
    are computed. Raises as `check_logits`.
    """
    model = jax.vmap(lambda image, key: logits_fn(image[None], key)[0]) if keys else logits_fn
    logits = model(images, *keys)
    check_logits(logits, images)
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def check_logits(logits: jax.Array, images: jax.Array) -> None:
    """Refuses logits of `images` [N, ...] that are not floats [N, K]."""
    if logits.ndim != 2 or len(logits) != len(images):
        raise ValueError(f"logits_fn must return [{len(images)}, K] logits; got shape {logits.shape}.")
    check_float(logits.dtype)


def check_float(dtype: jnp.dtype) -> None:
    """Refuses logits of a type that has no gradient, such as integers."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"logits_fn must return floating-point logits, got {dtype}: attacks follow their gradient. Return what the "
            "last layer computes, not classes, votes or rounded scores."
        )


def predictions(logits: jax.Array) -> jax.Array:
    """Returns the class [N] of the largest of the logits [N, K], the first of equals; -1 where one of them is NaN.

    NaN ranks highest in an argmax, so that a row of them would predict class 0. It predicts nothing: no label is -1.
    """
    return jnp.where(jnp.isnan(logits).any(axis=-1), -1, jnp.argmax(logits, axis=-1))
