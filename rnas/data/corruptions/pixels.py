"""Bytes and shares of one image, as the published corruptions turn one into the other."""

import numpy as np

PUBLISHED_SIDE = 32  # pixels a side of the images that the constants are for
LUMA = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue in grey, ITU-R BT.601


def pixels(image: np.ndarray) -> np.ndarray:
    """Bytes of any shape as float64 in [0, 1]."""
    return image / 255.0


def to_bytes(shares: np.ndarray) -> np.ndarray:
    """Shares as bytes: what lies outside [0, 1] is clipped, what lies between two bytes is cut off, not rounded."""
    return (np.clip(shares, 0, 1) * 255).astype(np.uint8)


def unit(image: np.ndarray) -> float:
    """The factor of published lengths for an image [H, W, …]: its shorter side over 32 pixels, but not below 1.

    A fraction of a radius that is a pixel already would be none: smaller images have the lengths as published.
    """
    return max(1.0, min(image.shape[:2]) / PUBLISHED_SIDE)


def grey(shares: np.ndarray) -> np.ndarray:
    """The luma [H, W, 1] of an image [H, W, C]; a grey one is its own."""
    return shares if shares.shape[-1] == 1 else shares @ LUMA[:, None]


def coloured(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A colour in bytes as shares [1, 1, C] for an image [H, W, C]: its luma for a grey one."""
    shares = np.array(colour)[None, None] / 255.0
    return grey(shares) if image.shape[-1] == 1 else shares
