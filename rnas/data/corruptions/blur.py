"""Blur. Images are uint8 [H, W, C]; lengths among the constants are pixels, see `pixels.unit`."""

import functools
import math

import numpy as np
from scipy import ndimage, sparse

from rnas.data.corruptions.pixels import pixels, to_bytes, unit

_SHARP = 8  # pixels: up to this radius the edge of a disk is softened by 3 taps, beyond it by 5


def smoothed(shares: np.ndarray, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """Rows and columns of [H, W, …] under a Gaussian of `sigma` pixels, cut off at `truncate` deviations."""
    return ndimage.gaussian_filter(shares, (sigma, sigma, *[0] * (shares.ndim - 2)), mode=mode, truncate=truncate)


def gaussian_blur(image: np.ndarray, sigma: float, draw: np.random.Generator) -> np.ndarray:
    return to_bytes(smoothed(pixels(image), sigma * unit(image)))


def defocus_blur(image: np.ndarray, constants: tuple[float, float], draw: np.random.Generator) -> np.ndarray:
    """The mean over a disk whose edge a Gaussian has softened; `constants`: its radius, and deviation of that."""
    radius, softness = (length * unit(image) for length in constants)
    return to_bytes(ndimage.correlate(pixels(image), disk(radius, softness)[..., None], mode="mirror"))


def disk(radius: float, softness: float) -> np.ndarray:
    """Weights [n, n] that sum to 1, the same within a radius in pixels, then smoothed by 3 or 5 taps of a Gaussian."""
    taps = np.arange(-1, 2) if radius <= _SHARP else np.arange(-2, 3)
    gauss = np.exp(-(taps**2) / (2 * softness**2))
    reach = math.floor(radius) + taps[-1]
    squares = np.arange(-reach, reach + 1) ** 2
    weights = (squares[:, None] + squares[None] <= radius**2).astype(float)
    for axis in (0, 1):
        weights = ndimage.correlate1d(weights, gauss, axis, mode="constant")
    return weights / weights.sum()


def glass_blur(image: np.ndarray, constants: tuple[float, float, int], draw: np.random.Generator) -> np.ndarray:
    """Smoothed, then every pixel takes the place of a near one, then smoothed again.

    `constants`: sigma, the farthest distance of a pixel, and how often. The released code means to swap two pixels,
    but its assignment copies one over the other, and the published images are made so. They are made so here.
    """
    sigma, distance, times = constants[0] * unit(image), max(1, round(constants[1] * unit(image))), constants[2]
    found = to_bytes(smoothed(pixels(image), sigma))
    down, across = (np.arange(distance + 1, side - distance + 1) for side in image.shape[:2])
    for _ in range(times):
        moves = draw.integers(-distance, distance, (2, len(down), len(across)))  # up and left by one pixel more
        found[down[:, None], across[None]] = found[down[:, None] + moves[0], across[None] + moves[1]]
    return to_bytes(smoothed(pixels(found), sigma))


def motion_blur(image: np.ndarray, constants: tuple[float, float], draw: np.random.Generator) -> np.ndarray:
    """Motion within 45° of the horizontal; `constants`: radius and sigma."""
    radius, sigma = (length * unit(image) for length in constants)
    return np.rint(moved(image, radius, sigma, draw.uniform(-45, 45))).astype(np.uint8)


def moved(values: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Means along a line, weighted by one half of a Gaussian, as ImageMagick's motion blur takes them.

    Args:
      values: [H, W, C], repeated beyond their edges.
      radius, sigma: pixels; the line has 2·radius + 1.
      angle: degrees, clockwise from the horizontal.
    """
    taps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()
    turned = math.radians(angle)
    down, across = (np.ceil(taps * part - 0.5).astype(int) for part in (math.sin(turned), math.cos(turned)))
    (top, bottom), (left, right) = ((-min(0, each.min()), max(0, each.max())) for each in (down, across))
    padded = np.pad(values, ((top, bottom), (left, right), (0, 0)), mode="edge")
    height, width = values.shape[:2]
    found = np.zeros(values.shape)
    for weight, dy, dx in zip(weights, down + top, across + left, strict=True):
        found += weight * padded[dy : dy + height, dx : dx + width]
    return found


def zoom_blur(image: np.ndarray, most: float, draw: np.random.Generator) -> np.ndarray:
    """The mean of the image and of all its enlargements, in steps of 1 %, below the factor `most`."""
    return to_bytes((_zooms(*image.shape[:2], most) @ pixels(image).reshape(-1, image.shape[2])).reshape(image.shape))


@functools.cache
def _zooms(height: int, width: int, most: float) -> sparse.csr_array:
    """What `zoom_blur` does to the pixels of an image in one row, [H · W, H · W]; most pixels take from a few alone."""
    factors = np.arange(1, most, 0.01)  # its rounding, which lets `most` itself in at times, is part of the definition
    total = sparse.eye_array(height * width, format="csr")
    for factor in factors:
        total = total + sparse.kron(_enlargement(height, factor), _enlargement(width, factor), format="csr")
    return sparse.csr_array(total / (len(factors) + 1))


def enlarged(values: np.ndarray, factor: float) -> np.ndarray:
    """The middle of [H, W] at `factor` times its size, linearly interpolated, in the shape it had."""
    height, width = values.shape
    return _enlargement(height, factor) @ values @ _enlargement(width, factor).T


@functools.cache
def _enlargement(side: int, factor: float) -> np.ndarray:
    """[side, side], which makes `side` values of the middle ones, ends on ends, without what is left over there."""
    inner = math.ceil(side / factor)
    places = np.linspace(0, inner - 1, round(inner * factor)) + (side - inner) // 2
    places = places[(len(places) - side) // 2 :][:side]
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(side)))
