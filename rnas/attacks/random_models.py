"""Models that draw random numbers, called so that every example has draws of its own."""

from collections.abc import Callable

import jax


def one_by_one(logits_fn: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Turns (images [N,H,W,C], one key) → [N,K] into (images, keys [N]) → [N,K].

    Each image is a batch of its own with its own key, so that the draws of the model for it do not depend on the other
    images of the batch.
    """
    return jax.vmap(lambda image, key: logits_fn(image[None], key)[0])
