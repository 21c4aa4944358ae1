"""Every type of corruption once, with its constants, and the images that it makes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
import zlib

import numpy as np

from rnas.artifacts.corruptions import SEVERITIES
from rnas.data.corruptions import blur, digital, noise, weather
from rnas.data.sampler import check_seed

LEAST_SIDE = 4  # pixels: a smaller image has nothing to move or to make coarse


@dataclass(frozen=True)
class Corruption:
    """A type of corruption.

    Attributes:
      group: noise, blur, weather or digital.
      standing: published (one of the 15 of the benchmark) | extra (one of its 4) | ours.
      apply: (image uint8 [H, W, C], constants, random draws) -> uint8 [H, W, C].
      constants: of each severity, those that the images of CIFAR-10-C were made with.
      needs_colour: whether it leaves a grey image as it is.
    """

    group: str
    standing: str
    apply: Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
    constants: Sequence[Any]
    needs_colour: bool = False

    def published(self) -> "Corruption":
        """The same where the published images are at hand."""
        return replace(self, standing="published")


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption("noise", "published", noise.gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption("noise", "published", noise.shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": Corruption("noise", "published", noise.impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": Corruption(
        "blur", "published", blur.defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    ),
    "glass_blur": Corruption(
        "blur", "published", blur.glass_blur,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    "motion_blur": Corruption("blur", "published", blur.motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": Corruption("blur", "published", blur.zoom_blur, (1.06, 1.11, 1.16, 1.21, 1.26)),
    "snow": Corruption(
        "weather", "published", weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost_procedural": Corruption(
        "weather", "ours", weather.frost_procedural, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
    ),
    "fog": Corruption("weather", "published", weather.fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption("weather", "published", weather.brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption("digital", "published", digital.contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": Corruption(
        "digital", "published", digital.elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": Corruption("digital", "published", digital.pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": Corruption("digital", "published", digital.jpeg_compression, (80, 65, 58, 50, 40)),
    "speckle_noise": Corruption("noise", "extra", noise.speckle_noise, (0.06, 0.1, 0.12, 0.16, 0.2)),
    "gaussian_blur": Corruption("blur", "extra", blur.gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1)),
    "spatter": Corruption(
        "weather", "extra", weather.spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
    ),
    "saturate": Corruption(
        "digital", "extra", digital.saturate, ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)), needs_colour=True
    ),
}  # fmt: skip


def types_for(shape: Sequence[int]) -> tuple[str, ...]:
    """The types that change images of a shape (H, W, C).

    Raises ValueError for images that are neither grey nor RGB, or of fewer than 4 pixels a side.
    """
    if len(shape) != 3 or shape[2] not in (1, 3) or min(shape[:2]) < LEAST_SIDE:
        raise ValueError(
            f"images of {tuple(shape)}: corruptions are defined for grey and RGB images [H, W, 1 or 3] of at least "
            f"{LEAST_SIDE} pixels a side."
        )
    return tuple(name for name, each in CORRUPTIONS.items() if shape[2] == 3 or not each.needs_colour)


def corrupt(images: np.ndarray, name: str, severity: int, *, seed: int, ids: np.ndarray) -> np.ndarray:
    """Images under one type of corruption.

    The draws of an image depend on seed, type, severity and its id alone: not on the other images, nor on how many
    processes share the work. Lengths are as published up to 32 pixels a side, and grow in proportion beyond.

    Args:
      images: uint8 [N, H, W, C], grey or RGB.
      name: one of `CORRUPTIONS`.
      severity: 1 to 5.
      seed: 0 to 2**64 - 1.
      ids: integers [N], from 0; the number of each image in its set.

    Returns:
      uint8 [N, H, W, C].

    Raises ValueError for an unknown type or severity, and for images of another kind or type.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(f"{name!r} of severity {severity!r}: expected 1 to 5 of {', '.join(CORRUPTIONS)}.")
    if images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}: expected uint8.")
    types_for(images.shape[1:])
    check_seed(seed)
    corruption = CORRUPTIONS[name]
    key = np.array([seed, zlib.crc32(f"{name} {severity}".encode())], np.uint64)
    found = np.empty_like(images)
    for place, (image, number) in enumerate(zip(images, ids, strict=True)):
        counter = np.array([0, 0, number, 0], np.uint64)  # streams of 2**128 numbers each, one an id
        draw = np.random.Generator(np.random.Philox(key=key, counter=counter))
        found[place] = corruption.apply(image, corruption.constants[severity - 1], draw)
    return found
