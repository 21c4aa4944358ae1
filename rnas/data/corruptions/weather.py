"""Weather. Images are uint8 [H, W, C]; lengths among the constants are pixels, see `pixels.unit`."""

import numpy as np
from scipy import ndimage

from rnas.data.corruptions.blur import enlarged, moved, smoothed
from rnas.data.corruptions.pixels import coloured, grey, pixels, to_bytes, unit

_WATER, _MUD = (175, 238, 238), (63, 42, 20)
_ICE = (225, 240, 255)


def snow(image: np.ndarray, constants: tuple[float, ...], draw: np.random.Generator) -> np.ndarray:
    """A whitened image under two layers of flakes that fall within 45° of the vertical, one the other turned over.

    `constants`: mean and deviation of the layer, its enlargement, the value below which there is no flake, radius and
    sigma of their motion, and the share of the image that is not whitened.
    """
    mean, deviation, factor, least, radius, sigma, kept = constants
    shares, length = pixels(image), unit(image)
    layer = enlarged(draw.normal(mean, deviation, image.shape[:2]), factor * length)[..., None]
    layer = to_bytes(np.where(layer < least, 0, layer))
    layer = np.rint(moved(layer, radius * length, sigma * length, draw.uniform(-135, -45))) / 255
    whitened = kept * shares + (1 - kept) * np.maximum(shares, grey(shares) * 1.5 + 0.5)
    return to_bytes(whitened + layer + np.rot90(layer, 2))


def fog(image: np.ndarray, constants: tuple[float, float], draw: np.random.Generator) -> np.ndarray:
    """A plasma fractal on top, and the range of the image taken back; `constants`: its height and decay."""
    height, decay = constants
    shares = pixels(image)
    most = shares.max()
    return to_bytes((shares + height * _cut_plasma(image, decay, draw)) * most / (most + height))


def frost_procedural(image: np.ndarray, constants: tuple[float, float], draw: np.random.Generator) -> np.ndarray:
    """Ice on a window, ours: the published type lays photographs of frost over the image, which are not shipped.

    `constants`, as published: the shares of the image and of the ice in the sum. The ice is bright along the level
    lines of a plasma fractal, which look like its needles.
    """
    kept, ice = constants
    ridges = 1 - np.abs(2 * _cut_plasma(image, 1.75, draw) - 1)
    return to_bytes(kept * pixels(image) + ice * ridges**2 * coloured(image, _ICE))


def _cut_plasma(image: np.ndarray, decay: float, draw: np.random.Generator) -> np.ndarray:
    """A plasma fractal [H, W, 1] of the size of an image [H, W, C]."""
    height, width = image.shape[:2]
    return plasma(1 << (max(height, width) - 1).bit_length(), decay, draw)[:height, :width, None]


def plasma(side: int, decay: float, draw: np.random.Generator) -> np.ndarray:
    """A plasma fractal [side, side] from 0 to 1, made by midpoint displacement on a torus (diamond-square).

    Args:
      side: a power of two, 2 or more.
      decay: by which the amplitude of the displacement is divided from one size of squares to the next.
    """
    field, step, amplitude = np.zeros((side, side)), side, 100.0
    while step >= 2:
        half = step // 2

        def displaced(total: np.ndarray, amplitude: float = amplitude) -> np.ndarray:
            return total / 4 + amplitude * draw.uniform(-amplitude, amplitude, total.shape)

        corners = field[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        middles = field[half::step, half::step] = displaced(pairs + np.roll(pairs, -1, 1))
        field[::step, half::step] = displaced(corners + np.roll(corners, -1, 1) + middles + np.roll(middles, 1, 0))
        field[half::step, ::step] = displaced(corners + np.roll(corners, -1, 0) + middles + np.roll(middles, 1, 1))
        step, amplitude = half, amplitude / decay
    field -= field.min()
    return field / field.max()


def brightness(image: np.ndarray, more: float, draw: np.random.Generator) -> np.ndarray:
    """The value of HSV, the largest channel, grows by `more`, up to 1; hue and saturation stay."""
    shares = pixels(image)
    value = shares.max(-1, keepdims=True)
    wanted = np.minimum(value + more, 1)
    return to_bytes(np.where(value > 0, shares * wanted / np.where(value > 0, value, 1), wanted))


def spatter(image: np.ndarray, constants: tuple[float, ...], draw: np.random.Generator) -> np.ndarray:
    """Drops of water or mud.

    `constants`: mean, deviation and smoothing of a field, the value below which it holds no liquid, then of water (0 as
    the last one) its strength and of mud (1) the smoothing of its edge.
    """
    mean, deviation, sigma, least, strength, muddy = constants
    shares, length = pixels(image), unit(image)
    # Smoothing over more pixels leaves less of the deviation.
    liquid = smoothed(draw.normal(mean, deviation * length, image.shape[:2]), sigma * length)
    liquid = np.where(liquid < least, 0, liquid)
    if muddy:
        mud = smoothed((liquid > least).astype(float), strength * length)[..., None]
        mud = np.where(mud < 0.8, 0, mud)
        return to_bytes(shares * (1 - mud) + mud * coloured(image, _MUD))
    depth = to_bytes(liquid)
    water = depth * _relief(depth)
    most = water.max()
    return to_bytes(shares + strength * (water / most if most else water)[..., None] * coloured(image, _WATER))


def _relief(depth: np.ndarray) -> np.ndarray:
    """How light falls on liquid of a depth, bytes [H, W]: a relief, as floats from 0 to 255.

    It follows the distance from the nearest edge of the liquid, 20 pixels at most, through a filter that lights one
    side of a drop. Distances are exact here; OpenCV's, in the published images, are off by up to 2 %.
    """
    edges = _edges(depth, 50, 150)
    distance = np.full(depth.shape, 20.0)
    if edges.any():
        distance = np.minimum(ndimage.distance_transform_edt(~edges), 20)
    levels = _mean_of_nine(distance).astype(np.uint8)
    light = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = np.clip(ndimage.correlate(_equalised(levels).astype(float), light, mode="mirror"), 0, 255)
    return np.rint(_mean_of_nine(lit))


def _mean_of_nine(values: np.ndarray) -> np.ndarray:
    return ndimage.uniform_filter(values, 3, mode="mirror")


def _equalised(levels: np.ndarray) -> np.ndarray:
    """Bytes whose histogram is as even as it can be; the lowest level becomes 0."""
    counts = np.bincount(levels.ravel(), minlength=256)
    below = counts.cumsum() - counts[levels.min()]
    left = levels.size - counts[levels.min()]
    return np.rint(np.maximum(below, 0) * (255 / left) if left else np.arange(256)).astype(np.uint8)[levels]


def _edges(levels: np.ndarray, low: float, high: float) -> np.ndarray:
    """bool [H, W], Canny's edges of bytes: ridges of the Sobel gradient above `low` that reach above `high`."""
    across, down = (ndimage.sobel(levels.astype(float), axis, mode="nearest") for axis in (1, 0))
    size = np.abs(across) + np.abs(down)
    angle = np.rad2deg(np.arctan2(down, across)) % 180
    sector = np.rint(angle / 45).astype(int) % 4
    padded = np.pad(size, 1)
    height, width = size.shape
    ridge = np.zeros(size.shape, bool)
    for number, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        after, before = (
            padded[1 + sign * dy : 1 + sign * dy + height, 1 + sign * dx : 1 + sign * dx + width] for sign in (1, -1)
        )
        ridge |= (sector == number) & (size > before) & (size >= after)
    weak = ridge & (size > low)
    pieces, _ = ndimage.label(weak, np.ones((3, 3)))
    return weak & np.isin(pieces, np.unique(pieces[weak & (size > high)]))
