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
    classes = np.stack([images.labels, images.clean_predictions, images.adversarial_predictions], axis=1).astype(int)
    examples = []
    pairs = zip(images.images[:shown], images.adversarial, classes.tolist(), strict=False)
    for i, (clean, adversarial, (label, before, after)) in enumerate(pairs):
        alt = f"Clean image, adversarial image and difference: label {label}, predicted {before}, then {after}."
        strip = _strip(f"{name}_{i}", alt, (clean, adversarial, 0.5 + factor * (adversarial - clean)))
        seen = (("label", label), ("clean", before), ("adversarial", after))
        words = " \u00b7 ".join(f"{view} {names[k] if k < len(names) else k}" for view, k in seen)
        verdict = Cell("correct", kind="passed") if after == label else Cell("fooled", kind="failed")
        wrong = Cell("wrong without attack", kind="skipped")
        examples.append(Example(strip, words, verdict if before == label else wrong))
    return Gallery(examples, factor) if examples else None


def _strip(name: str, alt: str, panels: tuple[np.ndarray, ...]) -> Picture:
    from PIL import Image

    enlarge = max(1, -(-_PANEL // max(panels[0].shape[:2])))
    tiles = []
    for panel in panels:
        if panel.shape[-1] != 3:  # grey, or channels that are no colours
            panel = np.repeat(panel.mean(axis=-1, keepdims=True), 3, axis=-1)
        pixels = np.rint(np.clip(np.nan_to_num(panel), 0, 1) * 255).astype(np.uint8)
        opaque = np.insert(pixels, 3, 255, axis=-1).repeat(enlarge, axis=0).repeat(enlarge, axis=1)
        tiles.append(np.pad(opaque, ((0, 0), (0, _SPACE), (0, 0))))  # the space between panels is transparent
    sheet = np.concatenate(tiles, axis=1)[:, :-_SPACE]
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    return Picture(name, buffer.getvalue(), alt, *sheet.shape[1::-1], "png")
