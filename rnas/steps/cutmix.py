"""CutMix (arXiv 1905.04899): a box of each image is that of another one, and so is the same share of its label."""

import jax
import jax.numpy as jnp

from rnas.objectives import MixedLabels


def cutmix(keys: jax.Array, images: jax.Array, labels: jax.Array, probability: float) -> tuple[jax.Array, MixedLabels]:
    """Puts a box of its partner's image into an image, with some probability.

    Partners are neighbours in the batch, 2k and 2k + 1, which is in random order: so the outcome depends on the global
    batch alone, not on how it is cut among devices. The area of a box is uniform, and so is its middle; what reaches
    over the edge is cut off, and the share of the label is the area that is left.

    Args:
      keys: [N], one an image.
      images: [N,H,W,C] of any type, N even.
      labels: integers [N].
      probability: of a box, in [0, 1], for each image.

    Returns:
      (images [N,H,W,C] of the same type, `MixedLabels` whose share is that of the pixels which the image kept).
    """
    count, height, width = images.shape[:3]
    assert count % 2 == 0, count
    partner = jnp.arange(count) ^ 1

    def box(key: jax.Array) -> jax.Array:
        """bool [H,W], true inside."""
        drawn, of_area, of_row, of_column = jax.random.split(key, 4)
        side = jnp.sqrt(jax.random.uniform(of_area)) * jax.random.bernoulli(drawn, probability)

        def near(key: jax.Array, length: int) -> jax.Array:
            cut = jnp.floor(length * side).astype(jnp.int32)
            first = jax.random.randint(key, (), 0, length) - cut // 2
            place = jnp.arange(length)
            return (place >= first) & (place < first + cut)

        return near(of_row, height)[:, None] & near(of_column, width)[None]

    boxes = jax.vmap(box)(keys)
    share = 1 - jnp.mean(boxes, (1, 2), dtype=jnp.float32)
    mixed = jnp.where(boxes[..., None], images[partner], images)
    return mixed, MixedLabels(labels, labels[partner], share)
