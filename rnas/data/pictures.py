"""Pictures of any size and kind made alike: bytes of one height, width and number of channels."""

import io
from pathlib import Path
from typing import NamedTuple
import warnings

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")  # modes of PIL
_TURNED = (5, 6, 7, 8)  # values of the tag for the camera's position under which height and width change places
_ORIENTATION = 0x0112
_MODES = {1: "L", 3: "RGB"}


class Look(NamedTuple):
    """What the head of a picture tells, before its pixels are read."""

    height: int
    width: int
    grey: bool


def look(picture: Path | bytes | np.ndarray) -> Look:
    """Looks at a picture.

    Raises ValueError where it is no PNG, JPEG or WebP, has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`, or its head
    is damaged.
    """
    if isinstance(picture, np.ndarray):
        height, width, *channels = picture.shape
        return Look(height, width, grey=channels in ([], [1]))
    if isinstance(picture, Path) and not picture.is_file():
        raise ValueError("no file")  # but a folder, a pipe, a link that leads nowhere
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _open(picture) as image:
                width, height = image.size
                if image.getexif().get(_ORIENTATION) in _TURNED:
                    width, height = height, width
                return Look(height, width, image.mode in GREY)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError("no PNG, JPEG or WebP") from error
    except Exception as error:  # a damaged head can raise almost anything
        raise ValueError(_short(error)) from error


def pixels_of(picture: Path | bytes | np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The pixels of a picture as bytes [H, W, C], grey where C is 1.

    The longer side is brought to the shape, larger or smaller, and the shorter one in proportion; what is left is
    black on both sides of it. So are transparent parts. A picture of that height and width stays as it is.

    Raises ValueError where the picture is damaged.
    """
    height, width, channels = shape
    try:
        if isinstance(picture, np.ndarray):
            image = Image.fromarray(picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture)
        else:
            with _open(picture) as opened:
                image = ImageOps.exif_transpose(opened)
        image = _opaque(image).convert(_MODES[channels])
        scale = min(width / image.width, height / image.height)
        size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        if size != image.size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        if size != (width, height):
            canvas = Image.new(image.mode, (width, height))
            canvas.paste(image, ((width - size[0]) // 2, (height - size[1]) // 2))
            image = canvas
        return np.asarray(image).reshape(shape)
    except Exception as error:  # damaged data can raise almost anything
        raise ValueError(_short(error)) from error


def as_png(pixels: np.ndarray) -> bytes:
    """Bytes [H, W, C] as the content of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def _open(picture: Path | bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture, formats=FORMATS)


def _opaque(image: Image.Image) -> Image.Image:
    """A picture of eight bits without transparency, which becomes black."""
    if image.mode.startswith("I"):  # 16 bits, which PIL would cut off at 255
        return Image.fromarray((np.asarray(image).astype(np.int64) // 256).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
