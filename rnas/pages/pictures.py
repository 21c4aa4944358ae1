"""Attacked images as pixels: the clean image, the adversarial one, and their magnified difference."""

from __future__ import annotations

from collections.abc import Mapping
import io
from typing import NamedTuple

import numpy as np

from rnas.pages.canvas import Picture

_PANEL = 96  # CSS pixels a panel has at least, so that 8x8 digits can be seen
_SPACE = 6
_SHOWN = 8


class Example(NamedTuple):
    """A strip of three panels and the classes that go with it."""

    strip: Picture
    label: int
    clean: int
    adversarial: int


def magnification(adversarial: Mapping[str, np.ndarray], epsilon: float | None) -> float:
    """The factor that brings a change of epsilon (or, if None, the largest there is) to full contrast."""
    largest = float(np.abs(adversarial["adversarial"] - adversarial["images"]).max(initial=0.0))
    return 0.5 / (epsilon or largest or 0.5)


def adversarial_examples(
    adversarial: Mapping[str, np.ndarray], epsilon: float | None, name: str = "adversarial"
) -> list[Example]:
    """The first images of `adversarial`, in their order.

    Args:
        adversarial: `images` and `adversarial` [n, h, w, c] in [0, 1], `labels`, `clean_predictions` and
            `adversarial_predictions` [n].
        epsilon: the radius of the attack, full contrast in the difference; None: the largest change is.
        name: of the files, before a number.
    """
    factor = magnification(adversarial, epsilon)
    examples = []
    for i in range(min(_SHOWN, len(adversarial["images"]))):
        clean, attacked = adversarial["images"][i], adversarial["adversarial"][i]
        label, before, after = (
            int(adversarial[key][i]) for key in ("labels", "clean_predictions", "adversarial_predictions")
        )
        alt = f"Clean image, adversarial image and difference: label {label}, predicted {before}, then {after}."
        panels = (clean, attacked, 0.5 + factor * (attacked - clean))
        examples.append(Example(_strip(f"{name}_{i}", alt, panels), label, before, after))
    return examples


def _strip(name: str, alt: str, panels: tuple[np.ndarray, ...]) -> Picture:
    from PIL import Image

    enlarge = max(1, -(-_PANEL // max(panels[0].shape[:2])))
    tiles = []
    for panel in panels:
        if panel.shape[-1] != 3:  # grey, or channels that are no colours
            panel = np.repeat(panel.mean(axis=-1, keepdims=True), 3, axis=-1)
        pixels = np.rint(np.clip(np.nan_to_num(panel), 0, 1) * 255).astype(np.uint8)
        tiles.append(pixels.repeat(enlarge, axis=0).repeat(enlarge, axis=1))
    height, width, _ = tiles[0].shape
    sheet = np.zeros((height, 3 * width + 2 * _SPACE, 4), np.uint8)  # the space between panels stays transparent
    for position, tile in enumerate(tiles):
        start = position * (width + _SPACE)
        sheet[:, start : start + width, :3] = tile
        sheet[:, start : start + width, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    return Picture(name, buffer.getvalue(), alt, sheet.shape[1], height)
