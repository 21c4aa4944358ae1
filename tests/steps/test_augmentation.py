"""Crops, flips and the scale of pixels against NumPy, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.steps.augmentation import random_crop, random_flip, to_float

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6, 7, 3)).astype(np.uint8)
KEYS = jax.random.split(jax.random.key(0), 64)
crop = jax.jit(random_crop, static_argnums=2)
flip = jax.jit(random_flip)


def offsets(image: np.ndarray, cropped: np.ndarray, padding: int) -> list[tuple[int, int]]:
    """All places of the padded image where the crop may have come from."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    places = np.ndindex(2 * padding + 1, 2 * padding + 1)
    return [(i, j) for i, j in places if (padded[i : i + height, j : j + width] == cropped).all()]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crop_is_a_window_of_the_padded_image(dtype):
    images = IMAGES.astype(dtype)
    cropped = crop(KEYS, images, 2)
    assert cropped.dtype == dtype
    found = [offsets(*pair, padding=2) for pair in zip(images, np.asarray(cropped), strict=True)]
    assert all(len(places) == 1 for places in found)
    tops, lefts = np.array(found)[:, 0].T
    assert set(tops) == set(lefts) == set(range(5))
    assert (tops != lefts).any()


def test_no_padding_returns_the_images():
    np.testing.assert_array_equal(random_crop(KEYS, IMAGES, 0), IMAGES)


def test_flip_mirrors_about_half_of_the_images():
    flipped = np.asarray(flip(KEYS, IMAGES))
    mirrored = (flipped == IMAGES[:, :, ::-1]).all((1, 2, 3))
    kept = (flipped == IMAGES).all((1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 16 < mirrored.sum() < 48  # four standard deviations about 32


@pytest.mark.parametrize("augment", [lambda keys, images: crop(keys, images, 2), flip])
def test_an_image_does_not_depend_on_its_neighbours(augment):
    np.testing.assert_array_equal(augment(KEYS, IMAGES)[8:16], augment(KEYS[8:16], IMAGES[8:16]))


@pytest.mark.parametrize("transform", [to_float, jax.jit(to_float)])
def test_every_byte_becomes_the_rounded_quotient(transform):
    pixels = transform(jnp.arange(256, dtype=jnp.uint8))
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, np.arange(256, dtype=np.float32) / np.float32(255))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_all_lowers_for_accelerators(platform):
    def augment(keys, images):
        return to_float(random_flip(keys, random_crop(keys, images, 4)))

    jax.jit(augment).trace(KEYS, IMAGES).lower(lowering_platforms=(platform,))
