"""Random crops, flips and blank squares of a batch, each image by its own key, and the step from bytes to [0, 1].

Images are [N,H,W,C] of any type, which stays; random keys are [N], other ones for each kind of change.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

# 1/255 in two terms. XLA turns a division by 255 into one product, which misses the quotient by a rounding
# for half of all bytes. A byte times 65793 = 2**16 + 2**8 + 1 fits the 24 bits of a float32, so the first
# product is exact, the sum is rounded once, and every byte maps to what a true division gives.
_SCALE = np.float32(65793 / 2**24)
_SCALE_REST = np.float32(1 / (255 * 2**24))


def to_float(images: jax.Array) -> jax.Array:
    """Bytes to pixels: uint8 of any shape to float32 in [0, 1], the correctly rounded x / 255."""
    x = images.astype(jnp.float32)
    return x * _SCALE + x * _SCALE_REST


def random_crop(keys: jax.Array, images: jax.Array, padding: int) -> jax.Array:
    """A window of the image's own size, uniformly placed in the image with `padding` zeros on each of its four sides.

    Crop before `to_float`: moving bytes costs half of moving floats.
    """
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def crop(key: jax.Array, image: jax.Array) -> jax.Array:
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(image, (top, left, 0), images.shape[1:])

    return jax.vmap(crop)(keys, padded)


def cutout(keys: jax.Array, images: jax.Array, side: int) -> jax.Array:
    """Blanks a square around a uniformly drawn pixel of each image (arXiv 1708.04552); it may reach over the edge."""
    height, width = images.shape[1:3]

    def near(key: jax.Array, length: int) -> jax.Array:
        first = jax.random.randint(key, (), 0, length) - side // 2
        place = jnp.arange(length)
        return (place >= first) & (place < first + side)

    def blank(key: jax.Array, image: jax.Array) -> jax.Array:
        rows, columns = jax.random.split(key)
        hidden = near(rows, height)[:, None] & near(columns, width)[None]
        return jnp.where(hidden[..., None], jnp.zeros((), image.dtype), image)

    return jax.vmap(blank)(keys, images)


def random_flip(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability 1/2."""
    mirrored = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How the images of a stage are varied."""

    padding: int  # zeros on each side before a random crop, pixels; 0 does not crop
    flip: bool  # whether half of the images are mirrored
    cutout: int = 0  # side of a blank square, pixels; 0 for none


def augment(augmentation: Augmentation, keys: jax.Array, images: jax.Array) -> jax.Array:
    """Returns the images cropped, mirrored, partly blanked."""
    both = jax.vmap(jax.random.split)(keys)
    if augmentation.padding:
        images = random_crop(both[:, 0], images, augmentation.padding)
    if augmentation.flip:
        images = random_flip(both[:, 1], images)
    if augmentation.cutout:
        images = cutout(jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 2), images, augmentation.cutout)
    return images


def augment_to_float(augmentation: Augmentation, keys: jax.Array, images: jax.Array) -> jax.Array:
    """Returns uint8 images [N,H,W,C], cropped, mirrored, partly blanked, as float32 in [0, 1]."""
    return to_float(augment(augmentation, keys, images))
