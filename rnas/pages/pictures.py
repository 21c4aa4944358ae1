"""Adversarial images as pixels: the clean image, the adversarial one, and their magnified difference."""

from __future__ import annotations

from collections.abc import Sequence
import io
from typing import NamedTuple

import numpy as np

from rnas.artifacts.evaluation import ExampleImages
from rnas.pages.canvas import Picture
from rnas.pages.table import Cell

_PANEL = 96  # CSS pixels a panel has at least, so that 8x8 digits can be seen
_SPACE = 6


class Example(NamedTuple):
    """A strip of three panels, the classes that go with it in words, and whether the attack succeeded."""

    strip: Picture
    classes: str
    verdict: Cell


class Gallery(NamedTuple):
    """Examples, and the factor that their differences are magnified by."""

    examples: list[Example]
    factor: float


def gallery(
    images: ExampleImages, epsilon: float | None, names: Sequence[str], shown: int, name: str = "adversarial"
) -> Gallery | None:
    """The first images, in their order; None where there are none.

    Args:
        images: at least `shown` of them, or all there are.
        epsilon: a change of this size has full contrast in the difference; None: the largest change has.
        names: of the classes, or none.
        name: of the files, before a number.
    """
    largest = float(np.abs(images.adversarial - images.images).max(initial=0.0))
    factor = 0.5 / (epsilon or largest or 0.5)
    examples = []
    for i in range(min(shown, len(images.images))):
        clean, adversarial = images.images[i], images.adversarial[i]
        label, before, after = (
            int(classes[i]) for classes in (images.labels, images.clean_predictions, images.adversarial_predictions)
        )
        alt = f"Clean image, adversarial image and difference: label {label}, predicted {before}, then {after}."
        strip = _strip(f"{name}_{i}", alt, (clean, adversarial, 0.5 + factor * (adversarial - clean)))
        seen = (("label", label), ("clean", before), ("adversarial", after))
        classes = " \u00b7 ".join(f"{view} {names[k] if k < len(names) else k}" for view, k in seen)
        examples.append(Example(strip, classes, _verdict(label, before, after)))
    return Gallery(examples, factor) if examples else None


def _verdict(label: int, clean: int, adversarial: int) -> Cell:
    if clean != label:
        return Cell("wrong without attack", kind="skipped")
    return Cell("correct", kind="passed") if adversarial == label else Cell("fooled", kind="failed")


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
