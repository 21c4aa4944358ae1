"""Noise, drawn for every channel of every pixel. Images are uint8 [H, W, C]; each function takes its constants."""

import numpy as np

from rnas.data.corruptions.pixels import pixels, to_bytes


def gaussian_noise(image: np.ndarray, deviation: float, draw: np.random.Generator) -> np.ndarray:
    return to_bytes(pixels(image) + draw.normal(scale=deviation, size=image.shape))


def shot_noise(image: np.ndarray, photons: int, draw: np.random.Generator) -> np.ndarray:
    """White is `photons` on average; as many arrive as a Poisson variable says."""
    return to_bytes(draw.poisson(pixels(image) * photons) / photons)


def impulse_noise(image: np.ndarray, share: float, draw: np.random.Generator) -> np.ndarray:
    """A share of all values becomes black or white, either with probability 1/2."""
    struck, white = draw.random(image.shape) < share, draw.random(image.shape) < 0.5
    return np.where(struck, np.where(white, 255, 0), image).astype(np.uint8)


def speckle_noise(image: np.ndarray, deviation: float, draw: np.random.Generator) -> np.ndarray:
    """Gaussian noise in proportion to each value."""
    shares = pixels(image)
    return to_bytes(shares + shares * draw.normal(scale=deviation, size=image.shape))
