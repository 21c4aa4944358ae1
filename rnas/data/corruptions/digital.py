"""What optics, storage and display do. Images are uint8 [H, W, C]; lengths among the constants are shares of a side."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from rnas.data.corruptions.blur import smoothed
from rnas.data.corruptions.pixels import pixels, to_bytes


def contrast(image: np.ndarray, factor: float, draw: np.random.Generator) -> np.ndarray:
    """Differences from the mean of a channel, times `factor`."""
    shares = pixels(image)
    mean = shares.mean((0, 1), keepdims=True)
    return to_bytes((shares - mean) * factor + mean)


def elastic_transform(
    image: np.ndarray, constants: tuple[float, float, float], draw: np.random.Generator
) -> np.ndarray:
    """A random affine map, then a smooth displacement of every pixel.

    `constants`: height and smoothing of the displacement, and how far the affine map moves each of three points at
    most, all as shares of the shorter side.
    """
    side = min(image.shape[:2])
    height, smoothing, reach = (share * side for share in constants)
    middle, arm = np.array(image.shape[:2]) // 2, side // 3  # (row, column)
    points = np.array([middle + arm, middle + (-arm, arm), middle - arm], float)
    moved = points + draw.uniform(-reach, reach, points.shape)
    # Rows, columns and 1 of a pixel of the result -> rows and columns in the image.
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points)
    mapped = np.stack(
        [
            ndimage.affine_transform(one, back[:2].T, back[2], order=1, mode="mirror")
            for one in np.moveaxis(pixels(image), -1, 0)
        ]
    )
    places = np.indices(image.shape[:2], float)
    for axis in (1, 0):
        field = smoothed(draw.uniform(-1, 1, image.shape[:2]), smoothing, mode="reflect", truncate=3)
        places[axis] += height * field
    return to_bytes(np.stack([ndimage.map_coordinates(one, places, order=1, mode="reflect") for one in mapped], -1))


def pixelate(image: np.ndarray, share: float, draw: np.random.Generator) -> np.ndarray:
    """Made smaller, to `share` of each side, and larger again, by means over boxes."""
    picture = _picture(image)
    height, width = image.shape[:2]
    small = picture.resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX)).reshape(image.shape)


def jpeg_compression(image: np.ndarray, quality: int, draw: np.random.Generator) -> np.ndarray:
    """What is left after JPEG of a quality from 1 to 95."""
    buffer = io.BytesIO()
    _picture(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).reshape(image.shape)


def saturate(image: np.ndarray, constants: tuple[float, float], draw: np.random.Generator) -> np.ndarray:
    """The saturation of HSV becomes factor · saturation + more, from 0 to 1; value and hue stay; grey counts as red."""
    factor, more = constants
    shares = pixels(image)
    value = shares.max(-1, keepdims=True)
    lacking = value - shares
    chroma = lacking.max(-1, keepdims=True)
    saturation = chroma / np.where(value > 0, value, 1)
    direction = np.where(chroma > 0, lacking / np.where(chroma > 0, chroma, 1), [0.0, 1.0, 1.0])
    return to_bytes(value * (1 - np.clip(saturation * factor + more, 0, 1) * direction))


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
