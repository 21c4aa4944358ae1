"""Models that draw random numbers, asked so that every example has draws of its own."""

from collections.abc import Callable

import jax


def alone(logits_fn: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Turns (images [N,H,W,C], one key) → [N,K] into (images, keys [N]) → [N,K].

    Each image is a batch of its own with its own key, so that what the model draws for it does not depend on
    which other images it is packed with.
    """
    return jax.vmap(lambda image, key: logits_fn(image[None], key)[0])
